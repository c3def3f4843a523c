/**
 * `explain`: what a call would do, as the lines of a shell script that does the same. Nothing is changed. Lines that begin with
 * "#" are remarks for people: what a command is for, what exists already, what cannot be told.
 */
import type { Call } from "../cni/plugin.ts";
import { CniError } from "../errors.ts";
import { type BackendName, chooseBackend } from "../filter/choose-backend.ts";
import { textAt } from "../lists.ts";
import { Kernel } from "../state/kernel.ts";
import type { Kind } from "../state/kind.ts";
import { type KernelObject, kindOf } from "../state/objects.ts";
import { type Owned, ownedCommands, staleCommands } from "../state/owned.ts";
import { attachmentOf, attachmentsToKeep } from "./identity.ts";

/** What GC does without the runtime's list of attachments. */
export const NOTHING_VALID = '# nothing: the configuration has no "cni.dev/valid-attachments"';

/** ADD: the commands that make a plan's objects. */
export function explainPlan(kernel: Kernel, plan: readonly KernelObject[], netns: string): string[] {
  const lines: string[] = [];
  for (const object of plan) {
    const kind = kindOf(object);
    const commands = kind.commands(netns);
    lines.push(...missingFor(kind, kernel, lines));
    if (commands.length === 0) continue;
    const isThere = isKnownToBeThere(kind, kernel);
    lines.push(`# ${kind.describe()}${isThere ? ": it is there already" : ""}`);
    if (!isThere) lines.push(...commands);
  }
  return lines;
}

/** False where this user may not ask the kernel. */
function isKnownToBeThere(kind: Kind, kernel: Kernel): boolean {
  try {
    return kind.isThere(kernel);
  } catch (error) {
    if (error instanceof CniError) return false;
    throw error;
  }
}

/** What an object needs and what is missing, unless an earlier line makes it. */
function missingFor(kind: Kind, kernel: Kernel, lines: readonly string[]): string[] {
  try {
    const missing: string[] = [];
    for (const commands of kind.prerequisites(kernel)) {
      const first = textAt(commands, 0);
      if (first === "" || commands.every((line) => lines.includes(line))) continue;
      if (!first.startsWith("#")) missing.push("# a table that all attachments share");
      for (const command of commands) missing.push(command);
    }
    return missing;
  } catch (error) {
    if (error instanceof CniError) return [`# the packet filter cannot be read: ${error.message}`];
    throw error;
  }
}

/** DEL and GC: the commands that remove what is there now. */
export function explainRemoval(call: Call, owned: readonly Owned[]): string[] {
  if (call.request.command === "GC") {
    const keep = attachmentsToKeep(call);
    if (keep === null) return [NOTHING_VALID];
    const kernel = Kernel.forHost();
    try {
      return staleCommands(kernel, owned, call.config.name, keep);
    } finally {
      kernel.close();
    }
  }
  const kernel = Kernel.forContainerIfAny(call.request.netns);
  try {
    return ownedCommands(kernel, owned, {
      attachment: attachmentOf(call),
      previous: () => call.config.previousIfAny(),
    });
  } finally {
    kernel.close();
  }
}

/** The packet filter's backend that an ADD would use; nftables where this user may not ask the kernel. */
export function explainedBackend(kernel: Kernel, wanted: BackendName | ""): BackendName {
  try {
    return chooseBackend(kernel.filter, wanted).backend;
  } catch (error) {
    if (error instanceof CniError) return "nftables";
    throw error;
  }
}
