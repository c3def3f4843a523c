/**
 * What attachments own, and how it goes: DEL and GC find it by derived names, aliases and comments alone, so they need no
 * plan. A plugin says which sorts its attachments own.
 */
import type { Result } from "../cni/result.ts";
import { warn } from "../host/io.ts";
import { isTracing, trace } from "../host/trace.ts";
import { NetlinkError } from "../netlink/socket.ts";
import { type Kernel, kernelRefused } from "./kernel.ts";
import type { Attachment } from "./names.ts";

/** One DEL. */
export interface Removal {
  readonly attachment: Attachment;
  /** The attachment's previous result, where it is needed to tell whose a thing is; null without one. */
  readonly previous: () => Result | null;
}

/** One sort of things that attachments own. */
export abstract class Owned {
  /** What is removed, for messages: "the rate limit". */
  abstract describe(): string;

  /** Removes what an attachment has of it. What is not there is no failure. @throws NetlinkError, CniError */
  abstract remove(kernel: Kernel, removal: Removal): void;

  /** Removes what attachments of a network have, other than those to keep. @throws NetlinkError, CniError */
  abstract sweep(kernel: Kernel, network: string, keep: readonly Attachment[]): void;

  /** For `explain`: the commands that remove what `remove` would find now. @throws NetlinkError, CniError */
  abstract commands(kernel: Kernel, removal: Removal): string[];

  /** The same for `sweep`. @throws NetlinkError, CniError */
  abstract staleCommands(kernel: Kernel, network: string, keep: readonly Attachment[]): string[];
}

/**
 * DEL: removes all that an attachment owns, in this order. A sort that fails keeps no other from being removed: the first
 * failure is reported, further ones are told on standard error.
 * @throws CniError
 */
export function removeOwned(kernel: Kernel, owned: readonly Owned[], removal: Removal): void {
  forEach(owned, (one) => one.remove(kernel, removal));
}

/** GC: the same for all attachments of a network but those to keep. @throws CniError */
export function sweepOwned(
  kernel: Kernel,
  owned: readonly Owned[],
  network: string,
  keep: readonly Attachment[],
): void {
  forEach(owned, (one) => one.sweep(kernel, network, keep));
}

/** `explain DEL`: what would be removed, as commands; a comment for each sort. @throws NetlinkError, CniError */
export function ownedCommands(kernel: Kernel, owned: readonly Owned[], removal: Removal): string[] {
  const lines: string[] = [];
  for (const one of owned) pushCommands(lines, one, one.commands(kernel, removal));
  return lines;
}

/** `explain GC`: the same for what attachments of a network have, other than those to keep. */
export function staleCommands(
  kernel: Kernel,
  owned: readonly Owned[],
  network: string,
  keep: readonly Attachment[],
): string[] {
  const lines: string[] = [];
  for (const one of owned) pushCommands(lines, one, one.staleCommands(kernel, network, keep));
  return lines;
}

function pushCommands(lines: string[], one: Owned, commands: readonly string[]): void {
  lines.push(`# remove ${one.describe()}${commands.length === 0 ? ": nothing is there" : ""}`);
  lines.push(...commands);
}

function forEach(owned: readonly Owned[], action: (one: Owned) => void): void {
  let first: Error | null = null;
  for (const one of owned) {
    if (isTracing()) trace(`remove ${one.describe()}`);
    try {
      action(one);
    } catch (error) {
      if (!(error instanceof Error)) throw error;
      const told = error instanceof NetlinkError ? kernelRefused(error, `cannot remove ${one.describe()}`, "") : error;
      if (first === null) first = told;
      else warn(`${told.message}\n`);
    }
  }
  if (first !== null) throw first;
}
