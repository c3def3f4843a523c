/**
 * The API server as a process of its own, which does what its parent asks for: remote.ts starts it, in a network namespace
 * for instance.
 */
import { ApiServer, type ApiServerOptions } from "./api-server.ts";
import { MovedClock } from "./clock.ts";
import { messageOf } from "./failure.ts";

/** What the parent sends. */
export interface Order {
  readonly id: number;
  /** The first one starts the server. */
  readonly what: "start" | "call" | "fault" | "read" | "set" | "advance";
  /** A method or a property. */
  readonly name: string;
  readonly args: readonly unknown[];
}

/** What it gets. */
export interface Outcome {
  readonly id: number;
  readonly value?: unknown;
  readonly error?: string;
}

let server: ApiServer | undefined;
let clock: MovedClock | undefined;

async function carryOut({ what, name, args }: Order): Promise<unknown> {
  if (what === "start") {
    const [{ moved, ...options }] = args as [ApiServerOptions & { moved: boolean }];
    if (moved) clock = new MovedClock();
    server = await ApiServer.start({ ...options, ...(clock === undefined ? {} : { clock }) });
    return { url: server.url, host: server.host, port: server.port, caPem: server.caPem, token: server.token };
  }
  if (server === undefined) throw new Error("the server has not been started");
  if (what === "advance") return clock?.advance(args[0] as number);
  if (what === "set") return Object.assign(server.settings, args[0]) && server.settingsChanged();
  if (what === "read") return name === "accesses" ? server.authorization.accesses : Reflect.get(server, name);
  const target: object = what === "fault" ? server.faults : server;
  const value: unknown = await Reflect.apply(Reflect.get(target, name), target, args);
  return what === "fault" ? undefined : value;
}

process.on("message", (order: Order) => {
  carryOut(order).then(
    (value) => process.send?.({ id: order.id, value } satisfies Outcome),
    (error: unknown) => process.send?.({ id: order.id, error: messageOf(error) } satisfies Outcome),
  );
});
process.on("disconnect", () => process.exit(0));
