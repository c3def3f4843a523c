/** What faults are tried on: a node, and a pod on it that is attached and detached. */
import { type CallOptions, type CallResult, call, expectSuccess, type JsonObject } from "../../testbed/harness.ts";

export type Verb = "ADD" | "DEL" | "GC" | "CHECK";

/** A plugin with what it is configured to do. */
export interface Subject {
  /** For the table and messages. */
  readonly name: string;
  readonly verbs: readonly Verb[];
  create(): Promise<Laboratory>;
}

/** Where an ADD is repeated: in another namespace, in the same one, or in one and the other by turns. */
export type Repeated = "fresh" | "same" | "both";

export abstract class Laboratory {
  abstract readonly repeated: Repeated;
  /** For traces and what a fault needs. */
  abstract readonly directory: string;
  /** Whether DEL can be called with a namespace that is gone. */
  abstract readonly survivesItsPod: boolean;
  /** Whether one DEL leaves what it should, and not only what is left of the pod. */
  abstract readonly delCompletes: boolean;
  /** Whether GC makes what all attachments share, as ADD does. */
  abstract readonly gcCompletes: boolean;
  /** Whether GC alone removes all of an attachment, and not only together with the GC of a plugin before it. */
  abstract readonly gcStandsAlone: boolean;

  /** Comes directly before a call with a fault: makes the node be as it is for the subject. */
  abstract prepare(verb: Verb): Promise<void>;
  /** A call of the plugin under test, not yet made. @param result what ADD printed, if it came so far */
  abstract options(verb: Verb, result: JsonObject | null): CallOptions;

  async call(verb: Verb, result: JsonObject | null, more: Partial<CallOptions> = {}): Promise<CallResult> {
    return call({ ...this.options(verb, result), ...more });
  }

  /** A call that must succeed, as the next two. */
  async add(): Promise<JsonObject> {
    return expectSuccess(await this.call("ADD", null));
  }

  async del(result: JsonObject | null, more: Partial<CallOptions> = {}): Promise<void> {
    expectSuccess(await this.call("DEL", result, more));
  }

  /** GC with all attachments valid but the pod's; of plugins before it as well, where those are to take the rest. */
  async gc(): Promise<void> {
    expectSuccess(await this.call("GC", null));
  }

  /** What a runtime does all the time and which brings the node up to date, where DEL does not. */
  async tick(): Promise<void> {}

  /** Goes to another namespace, for an ADD. */
  abstract move(): void;
  /** After `prepare`: takes away what a call reads of others' and can do without; null where there is nothing of that. */
  readonly blind: (() => Promise<void>) | null = null;

  /** Whether a call that succeeded said that it had to do without. */
  wasBlind(_answer: CallResult): boolean {
    return false;
  }

  /** All that is there; the pod's own addresses are named, so that it does not matter which it has got. */
  abstract state(result: JsonObject | null): Promise<string[]>;
  abstract remove(): Promise<void>;
}

/** Gives the addresses of a result names that do not depend on what IPAM had to give: ADDRESS0, ADDRESS1. */
export function nameAddresses(names: Map<string, string>, result: JsonObject | null, name: string): void {
  ((result?.ips ?? []) as JsonObject[]).forEach((ip, i) => {
    names.set(String(ip.address).split("/")[0] ?? "", `${name}${i}`);
  });
}

export function withNames(lines: readonly string[], names: ReadonlyMap<string, string>): string[] {
  return lines.map((line) => line.replace(/[0-9a-f.:]+/g, (word) => names.get(word) ?? word)).sort();
}
