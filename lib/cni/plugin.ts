/** The interface between the protocol and the plugins. */
import type { NetworkConfig } from "./config.ts";
import type { Request } from "./environment.ts";
import type { Result } from "./result.ts";

/** Calls other plugins. Every verb throws the CniError of the delegate, or 7 / 104 if it cannot be found or started. */
export abstract class Delegates {
  /** The same delegates, called with another configuration. */
  abstract withConfig(config: NetworkConfig): Delegates;

  /** @param type the delegate's name, from the configuration */
  abstract add(type: string): Result;
  abstract check(type: string): void;
  abstract del(type: string): void;
  abstract gc(type: string): void;
  abstract status(type: string): void;
  /** What the delegate would do, as `Plugin.explain` tells it. */
  abstract explain(type: string): string[];
}

/** One call of a verb: the request, the configuration, and a way to call other plugins. */
export interface Call {
  readonly request: Request;
  readonly config: NetworkConfig;
  readonly delegates: Delegates;
}

/** A plugin: its name (that of its executable), the CNI versions that it supports, and the verbs. Every verb may throw CniError. */
export interface Plugin {
  readonly name: string;
  readonly versions: readonly string[];
  /** Creates the attachment and returns the result to print. */
  add(call: Call): Result;
  /** Returns if everything that ADD created exists and is unchanged. */
  check(call: Call): void;
  /** Removes what the attachment owns. It is no error if something is missing. */
  del(call: Call): void;
  /** Removes what attachments of the network own that are not in `config.validAttachments()`. */
  gc(call: Call): void;
  /** Returns if an ADD could be served now. */
  status(call: Call): void;
  /**
   * For `<plugin> explain`: the lines of a shell script that does what the call would do. Nothing is changed. The request's
   * command is ADD, DEL or GC.
   */
  explain(call: Call): string[];
  /** `<plugin> repair`: restores what others have flushed, and returns whether anything was missing. Null: no such command. */
  readonly repair: (() => boolean) | null;
}
