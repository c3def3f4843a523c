/** What a plugin is to the protocol. */
import type { NetworkConfig } from "./config.ts";
import type { Request } from "./environment.ts";
import type { Result } from "./result.ts";

/** Other plugins, as a call can reach them. */
export abstract class Delegates {
  /** The same for a delegate that gets another configuration. */
  abstract withConfig(config: NetworkConfig): Delegates;

  /**
   * ADD by another plugin.
   * @param type the delegate's name, from the configuration
   * @throws CniError: the delegate's own, or 7 / 104 if it cannot be found or started
   */
  abstract add(type: string): Result;
  abstract check(type: string): void;
  abstract del(type: string): void;
  abstract gc(type: string): void;
  abstract status(type: string): void;
  /** What the delegate would do, as `Plugin.explain` tells it. */
  abstract explain(type: string): string[];
}

/** One call of a verb: who is asking, with which configuration, and how to reach other plugins. */
export interface Call {
  readonly request: Request;
  readonly config: NetworkConfig;
  readonly delegates: Delegates;
}

/** A plugin: its name, which is its executable's, the versions it speaks, and the verbs. Failures are thrown CniErrors. */
export interface Plugin {
  readonly name: string;
  readonly versions: readonly string[];
  /** Makes the attachment and returns the result to print. */
  add(call: Call): Result;
  /** Returns if everything ADD made is still there and as it was. */
  check(call: Call): void;
  /** Removes what the attachment owns; what is not there is no failure. */
  del(call: Call): void;
  /** Removes what the network owns for attachments that the runtime does not know any more. */
  gc(call: Call): void;
  /** Returns if an ADD could be served now. */
  status(call: Call): void;
  /**
   * For `<plugin> explain`: the lines of a shell script that does what the call would do. Nothing is changed. The request's
   * command is ADD, DEL or GC.
   */
  explain(call: Call): string[];
  /** For `<plugin> repair`: puts back what others have flushed, and returns whether anything was missing. Null: no such command. */
  readonly repair: (() => boolean) | null;
}
