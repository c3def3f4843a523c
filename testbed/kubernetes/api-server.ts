/**
 * An API server of Kubernetes for tests, over HTTPS, that behaves as a real kube-apiserver does (README.md says how far).
 *
 *   const server = await ApiServer.start();
 *   server.put(node({ name: "n1" }));
 *   ... server.url, server.caPem, server.token ...
 *   await server.stop();
 */
import { once } from "node:events";
import { type AddressInfo, createServer, type Server, type Socket } from "node:net";
import { type TLSSocket, Server as TlsServer } from "node:tls";
import { Answer, type RequestRecord } from "./answer.ts";
import { Authentication, serviceAccount } from "./authentication.ts";
import { Authorization } from "./authorization.ts";
import { Authority, type Issued } from "./certificates.ts";
import { type Clock, machineClock } from "./clock.ts";
import { RequestReader } from "./connection.ts";
import { Faults } from "./faults.ts";
import { type KubernetesObject, sameJson } from "./json.ts";
import { inOrder, KINDS, type Kind, kindOf } from "./kinds.ts";
import { Service, type Settings } from "./service.ts";
import { keyOf, Store } from "./store.ts";
import type { WatchError } from "./watches.ts";
import { type Cut, Gone, Wire } from "./wire.ts";

export interface ApiServerOptions {
  /** The address to listen on, 127.0.0.1 if nothing is said. */
  readonly host?: string;
  /** 0 for any that is free. */
  readonly port?: number;
  /** Who signs; a new authority if nothing is said. */
  readonly authority?: Authority;
  /** What the server shows; one for the host, 127.0.0.1, ::1, localhost and kubernetes.default.svc if nothing is said. */
  readonly certificate?: Issued;
  readonly clock?: Clock;
  /** Roles and bindings; without them everybody with a token may do everything. */
  readonly manifests?: readonly KubernetesObject[];
  /** The newest TLS, for clients that are to be tried with the older one. */
  readonly maxTls?: "TLSv1.2" | "TLSv1.3";
  /** How long a connection may be idle, and take for TLS and a header, ms. */
  readonly idle?: number;
  readonly header?: number;
}

/** A running watch stays so long after SIGTERM, ms. */
const TERMINATION = 60_000;

export class ApiServer {
  readonly authority: Authority;
  readonly faults = new Faults();
  readonly authentication: Authentication;
  readonly authorization = new Authorization();
  readonly settings: Settings;
  readonly store: Store;
  /** A token that is good until it is revoked: that of the service account podwire/podwire-agent. */
  readonly token = "agent-token";
  /** All requests since the start or the last `forgetRequests`, oldest first. */
  requests: RequestRecord[] = [];
  readonly #clock: Clock;
  readonly #options: ApiServerOptions;
  readonly #service: Service;
  readonly #connections = new Map<string, { raw: Socket; wire: Wire | null; busy: boolean }>();
  #certificate: Issued;
  #listener: Server | null = null;
  #tls: TlsServer | null = null;
  #port: number;

  private constructor(options: ApiServerOptions, authority: Authority, certificate: Issued) {
    this.#options = options;
    this.#clock = options.clock ?? machineClock;
    this.#certificate = certificate;
    this.#port = options.port ?? 0;
    this.authority = authority;
    this.store = new Store(this.#clock);
    this.authentication = new Authentication(this.#clock);
    this.authentication.addToken(this.token, serviceAccount("podwire", "podwire-agent"));
    if (options.manifests !== undefined) this.authorization.load(options.manifests);
    this.settings = {
      watchList: true,
      staleBy: 0,
      bookmarkEvery: 60_000,
      bookmarksOnly: false,
      silent: false,
      endBy: Number.POSITIVE_INFINITY,
    };
    const { store, faults, authentication, authorization, settings } = this;
    const address = (): string => `${this.host}:${this.#port}`;
    this.#service = new Service({
      store,
      clock: this.#clock,
      faults,
      authentication,
      authorization,
      settings,
      address,
    });
  }

  static async start(options: ApiServerOptions = {}): Promise<ApiServer> {
    const authority = options.authority ?? (await Authority.create());
    const host = options.host ?? "127.0.0.1";
    const names = [...new Set([host, "127.0.0.1", "::1", "localhost", "kubernetes.default.svc"])];
    const certificate =
      options.certificate ?? (await authority.issue({ name: "kube-apiserver", use: "server", names }));
    const server = new ApiServer(options, authority, certificate);
    await server.listen();
    return server;
  }

  get host(): string {
    return this.#options.host ?? "127.0.0.1";
  }

  get port(): number {
    return this.#port;
  }

  get url(): string {
    return `https://${this.host.includes(":") ? `[${this.host}]` : this.host}:${this.#port}`;
  }

  /** What a client must trust. */
  get caPem(): string {
    return this.authority.certificate;
  }

  /** Connections that are open. */
  get connections(): number {
    return this.#connections.size;
  }

  /** Watches that run. */
  get watches(): number {
    return this.#service.watches.size;
  }

  /** Makes an object or changes it into this one, as some other client would. Without a difference nothing happens. */
  put(object: KubernetesObject): KubernetesObject {
    const kind = kindOf(object);
    const live = this.store.get(kind, keyOf(kind, object.metadata));
    if (live === undefined) return this.store.write(kind, object).object;
    const { uid, resourceVersion, creationTimestamp, managedFields } = live.object.metadata;
    const metadata = { ...(managedFields && { managedFields }), ...object.metadata, ...(uid && { uid }) };
    const next = { ...object, metadata: { ...metadata, resourceVersion, creationTimestamp } } as KubernetesObject;
    if (sameJson(inOrder(kind, next), live.object)) return live.object;
    return this.store.write(kind, next).object;
  }

  /** Removes an object, whatever finalizers it has. @param plural "nodes" @returns whether there was one */
  delete(plural: string, name: string, namespace?: string): boolean {
    const kind = this.#kind(plural);
    return this.store.remove(kind, keyOf(kind, { name, namespace })) !== undefined;
  }

  get(plural: string, name: string, namespace?: string): KubernetesObject | undefined {
    const kind = this.#kind(plural);
    return this.store.get(kind, keyOf(kind, { name, namespace }))?.object;
  }

  /** All objects of a kind, in the order of their names. */
  list(plural: string): KubernetesObject[] {
    return this.store.list(this.#kind(plural)).map(({ object }) => object);
  }

  /** Takes over what a list says, with its versions and owners of fields. @param list the JSON of an answer to a list */
  restore(list: { items: KubernetesObject[]; metadata: { resourceVersion: string } }, plural: string): void {
    const kind = this.#kind(plural);
    const items = list.items.map((item) => inOrder(kind, item));
    this.store.restore(kind, items, Number(list.metadata.resourceVersion));
  }

  forgetRequests(): void {
    this.requests = [];
    this.authorization.forget();
  }

  /** Ends all running watches with an ERROR event. */
  failWatches(error: WatchError): void {
    for (const watch of this.#service.watches) watch.fail(error);
  }

  /** Ends all running watches as their time does: with a last chunk. */
  endWatches(): void {
    for (const watch of this.#service.watches) watch.stop();
  }

  /** Has running watches look at `settings` again. */
  settingsChanged(): void {
    for (const watch of this.#service.watches) watch.rouse();
  }

  /** Forgets the history: watches and continued lists of before now are too old (410). Running watches go on. */
  compact(): void {
    this.store.forget();
  }

  /** As if etcd had been restored from a backup: versions that clients know are in the future now. */
  rewind(version: number): void {
    this.store.rewind(version);
  }

  /** Breaks off all connections, or those that carry a watch. */
  breakConnections(cut: Cut = "reset"): void {
    for (const { raw, wire } of this.#connections.values()) {
      if (wire === null) raw.destroy();
      else void wire.breakOff(cut);
    }
  }

  /** Shows another certificate to connections that come. */
  present(certificate: Issued): void {
    this.#certificate = certificate;
    this.#tls?.setSecureContext(this.#context());
  }

  /**
   * SIGTERM: connections are refused, idle ones closed; running watches stay for a minute, with bookmarks only.
   * @returns when the last of them has ended
   */
  async terminate(): Promise<void> {
    this.settings.bookmarksOnly = true;
    this.settings.endBy = this.#clock.now() + TERMINATION;
    const closed = this.#close();
    this.settingsChanged();
    for (const { wire, busy } of this.#connections.values()) if (!busy) wire?.end();
    await closed;
  }

  /** SIGKILL: all connections end without a word, new ones are refused. */
  async stop(): Promise<void> {
    const closed = this.#close();
    for (const { raw } of this.#connections.values()) raw.destroy();
    await closed;
  }

  /** Listens (again), on the same port as before. */
  async listen(): Promise<void> {
    const tls = new TlsServer({
      ...this.#context(),
      requestCert: true,
      rejectUnauthorized: false,
      ALPNProtocols: ["http/1.1"],
    });
    tls.on("secureConnection", (socket) => void this.#secured(socket));
    tls.on("tlsClientError", () => undefined);
    const listener = createServer((raw) => this.#connected(raw, tls));
    listener.listen(this.#port, this.host);
    await once(listener, "listening");
    this.#port = (listener.address() as AddressInfo).port;
    this.#listener = listener;
    this.#tls = tls;
  }

  /** Stops, and starts with an empty history: older versions are too old for watches and continued lists. */
  async restart(): Promise<void> {
    if (this.#listener !== null) await this.stop();
    this.settings.bookmarksOnly = false;
    this.settings.endBy = Number.POSITIVE_INFINITY;
    this.store.forget();
    await this.listen();
  }

  #kind(plural: string): Kind {
    const kind = KINDS.find((one) => one.plural === plural);
    if (kind === undefined) throw new Error(`the testbed's server has no ${plural}`);
    return kind;
  }

  #context() {
    const { certificate, key } = this.#certificate;
    const maxVersion = this.#options.maxTls ?? "TLSv1.3";
    return { cert: certificate, key, ca: this.authority.certificate, minVersion: "TLSv1.2" as const, maxVersion };
  }

  #connected(raw: Socket, tls: TlsServer): void {
    const place = placeOf(raw);
    this.#connections.set(place, { raw, wire: null, busy: false });
    raw.on("close", () => this.#connections.delete(place));
    raw.on("error", () => undefined);
    if (this.faults.handshakes === "normal") tls.emit("connection", raw);
    else if (this.faults.handshakes === "break") raw.once("data", () => raw.destroy());
  }

  async #secured(socket: TLSSocket): Promise<void> {
    const connection = this.#connections.get(placeOf(socket));
    if (connection === undefined) return void socket.destroy();
    socket.setNoDelay(true);
    const wire = new Wire(socket, connection.raw);
    connection.wire = wire;
    const { header = 32_000, idle = 90_000 } = this.#options;
    const reader = new RequestReader(wire, { header, idle });
    try {
      for (let request = await reader.next(); request !== null; request = await reader.next()) {
        connection.busy = true;
        const close = request.close || this.#listener === null;
        const answer = new Answer({ wire, record: this.#record(request), now: () => this.#clock.now(), close });
        try {
          await this.#service.serve(request, answer);
        } finally {
          answer.record.ended = true;
          connection.busy = false;
        }
        if (answer.close || this.#listener === null) break;
      }
      wire.end();
    } catch (error) {
      if (!(error instanceof Gone)) throw error;
    }
  }

  #record({
    method,
    target,
    headers,
  }: {
    method: string;
    target: string;
    headers: ReadonlyMap<string, string>;
  }): RequestRecord {
    const at = this.#clock.now();
    const record = { method, target, at, user: "", verb: "", status: 0, bytes: 0, events: 0, ended: false, headers };
    this.requests.push(record);
    return record;
  }

  /** The port is free at once; resolves when the last connection has ended. */
  async #close(): Promise<void> {
    const listener = this.#listener;
    this.#listener = null;
    if (listener === null) return;
    const closed = once(listener, "close");
    listener.close();
    await closed;
  }
}

/** Where a connection comes from: the TCP socket and that of TLS over it have the same. */
function placeOf({ remoteAddress, remotePort }: Socket): string {
  return `${remoteAddress} ${remotePort}`;
}
