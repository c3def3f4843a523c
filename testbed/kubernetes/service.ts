/** Serves requests: who asks, whether that is allowed, what goes wrong, and then lists, watches, objects and writes. */
import type { Answer } from "./answer.ts";
import type { Authentication, User } from "./authentication.ts";
import type { Authorization } from "./authorization.ts";
import type { Clock } from "./clock.ts";
import type { Request } from "./connection.ts";
import { BODY_LIMIT } from "./connection.ts";
import { remove } from "./deletions.ts";
import { documentAt } from "./discovery.ts";
import {
  Failure,
  internalError,
  messageOf,
  methodNotAllowed,
  notFound,
  tooLarge,
  unknownPath,
  unknownResource,
} from "./failure.ts";
import type { Effect, Faults } from "./faults.ts";
import { sendHostile } from "./hostile.ts";
import { goJson, type JsonObject, prettyGoJson } from "./json.ts";
import { findKind, KINDS, type Kind } from "./kinds.ts";
import { pageOf, sendPage } from "./lists.ts";
import { listOptions } from "./options.ts";
import { objectBytes, viewOf } from "./presentation.ts";
import { review } from "./reviews.ts";
import { keyOf, Revision, type Store } from "./store.ts";
import { type ResourceTarget, type Target, targetOf } from "./target.ts";
import { Watch, type WatchSettings } from "./watches.ts";
import { Gone } from "./wire.ts";
import { create, patch, subjectOf, update, type Write, type Written } from "./writes.ts";

/** What tests change about the server as a whole. */
export interface Settings extends WatchSettings {
  /** Whether there are streaming lists. */
  watchList: boolean;
  /** How many versions the cache is behind, for lists that take what it has. */
  staleBy: number;
}

export interface ServiceParts {
  readonly store: Store;
  readonly clock: Clock;
  readonly faults: Faults;
  readonly authentication: Authentication;
  readonly authorization: Authorization;
  readonly settings: Settings;
  /** Where the server is: `127.0.0.1:6443`. */
  readonly address: () => string;
}

/** A request that names a resource of the server. */
interface Call {
  readonly target: Target;
  readonly resource: ResourceTarget;
  readonly kind: Kind;
  readonly request: Request;
  readonly effect: Effect;
}

export class Service {
  readonly #parts: ServiceParts;
  /** Those that run. */
  readonly watches = new Set<Watch>();

  constructor(parts: ServiceParts) {
    this.#parts = parts;
  }

  /** Answers one request, whatever happens. @throws Gone */
  async serve(request: Request, answer: Answer): Promise<void> {
    const target = targetOf(request.method, request.target);
    answer.record.verb = target.verb;
    try {
      await this.#serve(request, target, answer);
    } catch (error) {
      if (error instanceof Gone || answer.begun) throw error;
      const failure =
        error instanceof Failure ? error : internalError(`the testbed's server failed: ${messageOf(error)}`);
      await answer.whole(failure.status, failure.headers, Buffer.from(failure.text()));
    }
  }

  async #serve(request: Request, target: Target, answer: Answer): Promise<void> {
    const { faults, authentication, authorization, clock } = this.#parts;
    const effect = faults.effectOn(target);
    answer.wire.impair(effect.impairment ?? {});
    if (effect.delay) await new Promise<void>((resolve) => void clock.after(effect.delay ?? 0, resolve));
    const user = authentication.userOf(request.headers.get("authorization") ?? "", answer.wire.tls);
    answer.record.user = user.name;
    if (effect.failure !== undefined) throw effect.failure;
    authorization.check(user, target);
    if (request.tooLarge) throw tooLarge(BODY_LIMIT);
    if (await sendHostile(answer, effect)) return;
    const { resource } = target;
    if (resource === null) return this.#document(target, answer, effect);
    if (resource.group.endsWith("k8s.io") && resource.resource.startsWith("selfsubject")) {
      return this.#review(user, request, resource, answer);
    }
    await this.#resource({ target, resource, kind: kindAt(resource), request, effect }, answer);
  }

  async #document(target: Target, answer: Answer, { lengthError = 0 }: Effect): Promise<void> {
    const document = documentAt(target.path, this.#parts.address());
    if (document === undefined) throw unknownPath();
    const sniff = document.type.startsWith("text") ? [["X-Content-Type-Options", "nosniff"] as const] : [];
    const body = Buffer.from(document.text);
    const headers = [["Content-Type", document.type] as const, ...sniff];
    if (lengthError !== 0) return answer.whole(200, headers, body, body.length + lengthError);
    answer.begin(200, headers);
    await answer.write(body);
    await answer.end();
  }

  async #review(user: User, request: Request, resource: ResourceTarget, answer: Answer): Promise<void> {
    const body = review({ user, body: request.body, resource, parts: this.#parts, userAgent: agentOf(request) });
    answer.begin(201, [["Content-Type", "application/json"]]);
    await answer.write(Buffer.from(`${goJson(body)}\n`));
    await answer.end();
  }

  async #resource(call: Call, answer: Answer): Promise<void> {
    const { verb, method } = call.target;
    if (call.resource.subresource !== "" && !["get", "patch", "update"].includes(verb)) throw methodNotAllowed();
    if (verb === "list") return this.#list(call, answer);
    if (verb === "watch") return this.#watch(call, answer);
    if (verb === "get") return this.#get(call, answer);
    if (verb === "deletecollection") return this.#removeAll(call, answer);
    if (verb === "delete")
      return this.#send(answer, call, { status: 200, result: remove(this.#deletion(call, call.resource.name)) });
    const written = this.#written(method, this.#write(call));
    const warnings = written.unknown.map((field) => ["Warning", `299 - "unknown field \\"${field}\\""`] as const);
    await this.#send(answer, call, { status: written.status, result: written.revision, warnings });
  }

  #written(method: string, write: Write): Written {
    if (method === "POST") return create(write);
    if (method === "PUT") return update(write);
    if (method === "PATCH") return patch(write);
    throw methodNotAllowed();
  }

  async #list({ target, resource, kind, request, effect }: Call, answer: Answer): Promise<void> {
    const { store, clock, settings } = this.#parts;
    const view = viewOf(request.headers.get("accept") ?? "");
    const options = listOptions(target.query, settings);
    const page = await pageOf({ store, clock, staleBy: settings.staleBy }, { kind, ...resource }, options);
    if (effect.lengthError === undefined) {
      const form = { kind, page, view, pretty: isPretty(target), compress: effect.compressed ?? false };
      return sendPage(answer, form);
    }
    const body = Buffer.from(goJson({ kind: `${kind.kind}List`, items: page.items.map(({ object }) => object) }));
    await answer.whole(200, [["Content-Type", "application/json"]], body, body.length + effect.lengthError);
  }

  async #watch({ target, resource, kind, request, effect }: Call, answer: Answer): Promise<void> {
    const { store, clock, settings } = this.#parts;
    const view = viewOf(request.headers.get("accept") ?? "");
    const options = listOptions(target.query, settings);
    const silent = effect.silence === true ? { ...settings, silent: true } : settings;
    const collection = { kind, ...resource };
    const watch = new Watch(answer, { store, clock, settings: silent, collection, options, view });
    this.watches.add(watch);
    try {
      if (effect.endsAtOnce === true) watch.stop();
      if (effect.errorEvent !== undefined) watch.fail(effect.errorEvent);
      await watch.run();
    } finally {
      this.watches.delete(watch);
    }
  }

  async #get(call: Call, answer: Answer): Promise<void> {
    const { kind, resource } = call;
    const revision = this.#parts.store.get(kind, keyOf(kind, resource));
    if (revision === undefined) throw notFound(subjectOf({ kind, name: resource.name }));
    await this.#send(answer, call, { status: 200, result: revision });
  }

  async #removeAll(call: Call, answer: Answer): Promise<void> {
    const { kind, resource, target } = call;
    const { store, clock } = this.#parts;
    const page = await pageOf({ store, clock }, { kind, ...resource }, listOptions(target.query, { watchList: true }));
    for (const { object } of page.items) {
      const namespace = object.metadata.namespace ?? "";
      remove({ ...this.#deletion(call, object.metadata.name), namespace });
    }
    await sendPage(answer, { kind, page, view: "whole", pretty: false, compress: false });
  }

  async #send(
    answer: Answer,
    { target, request }: Call,
    {
      status,
      result,
      warnings = [],
    }: { status: number; result: Revision | JsonObject; warnings?: readonly (readonly [string, string])[] },
  ): Promise<void> {
    const view = viewOf(request.headers.get("accept") ?? "");
    const bytes = result instanceof Revision ? objectBytes(result, view) : Buffer.from(goJson(result));
    answer.begin(status, [["Content-Type", "application/json"], ...warnings]);
    if (isPretty(target)) await answer.write(Buffer.from(prettyGoJson(JSON.parse(bytes.toString()))));
    else await answer.write(Buffer.concat([bytes, Buffer.from("\n")]));
    await answer.end();
  }

  #write({ target, resource, kind, request }: Call): Write {
    const { store, clock } = this.#parts;
    const { namespace, name, subresource } = resource;
    const contentType = (request.headers.get("content-type") ?? "").split(";")[0]?.trim() ?? "";
    const { query } = target;
    const userAgent = agentOf(request);
    return { store, clock, kind, namespace, name, subresource, query, contentType, userAgent, body: request.body };
  }

  #deletion({ target, resource, kind, request }: Call, name: string) {
    const { store, clock } = this.#parts;
    return { store, clock, kind, namespace: resource.namespace, name, query: target.query, body: request.body };
  }
}

/** @throws Failure 404: text for a group or version that is not there, a Status for a resource */
function kindAt({ group, version, resource, subresource, name }: ResourceTarget): Kind {
  const kind = findKind(group, version, resource);
  const known = subresource === "" || (subresource === "status" && kind?.hasStatus === true && name !== "");
  if (kind !== undefined && known) return kind;
  if (!KINDS.some((one) => one.group === group && one.version === version)) throw unknownPath();
  throw unknownResource();
}

function isPretty({ query }: Target): boolean {
  return ["true", "1"].includes(query.get("pretty") ?? "");
}

function agentOf(request: Request): string {
  return request.headers.get("user-agent") ?? "";
}
