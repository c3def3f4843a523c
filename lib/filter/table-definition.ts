/** Tables of nf_tables as text: sets, chains and rules in nft's syntax. Pure. */
import { createHash } from "node:crypto";
import type { NftHook } from "../netlink/nftables/objects.ts";
import { hexOf } from "../text.ts";

/** A set, or with `data` a map, with the types of its parts as nft names them: "inet_proto . inet_service". */
export interface SetDefinition {
  readonly name: string;
  readonly key: string;
  readonly data: string;
}

export interface ChainDefinition {
  readonly name: string;
  /** Null for a regular chain: one that other chains jump to. */
  readonly hook: NftHook | null;
  /** Each compiles to one rule of the kernel. */
  readonly rules: readonly string[];
}

export interface TableContent {
  readonly sets: readonly SetDefinition[];
  readonly chains: readonly ChainDefinition[];
}

/** All that a managed table is made from, and the only thing that a new one needs. */
export interface TableDefinition {
  readonly family: "inet" | "bridge";
  readonly name: string;
  /** Must change with the content, and fit into 128 bytes: `digestOf` makes a part that does. */
  readonly comment: string;
  /**
   * What a check of the table's state asks the kernel for besides the table: "every base chain", whose rules are counted, or
   * only the base chain "prerouting", which has no rules after `nft flush table`. The second costs one question.
   */
  readonly stateCheck: "every base chain" | "prerouting";
  /** The chains that elements and attachments' own chains may lead to: what the kernel counts there varies. */
  readonly targets: readonly string[];
  /** Called once, when it is first needed: most operations do not need that of every table. */
  readonly content: () => TableContent;
}

/** Half of the SHA-256 of a content's text in hex digits: the same for the same sets, hooks and rules in any version. */
export function digestOf({ sets, chains }: TableContent): string {
  const lines: string[] = [];
  for (const { name, key, data } of sets) lines.push(`set ${name} ${key} : ${data}`);
  for (const { name, hook, rules } of chains) {
    lines.push(hook === null ? `chain ${name}` : `chain ${name} ${hook.type} ${hook.hook} ${hook.priority}`);
    for (const rule of rules) lines.push(rule);
  }
  return hexOf(createHash("sha256").update(lines.join("\n")).digest().subarray(0, 8), "");
}
