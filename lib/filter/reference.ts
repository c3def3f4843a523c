/**
 * Removes what the reference suite, or our own iptables backend under the same names, has left in the packet filter for an
 * attachment. What is in nf_tables is found and removed over netlink, whichever program made it. For the older iptables its
 * own programs are run. Nothing of other attachments is changed.
 */

import { CniError, KERNEL_REFUSED, TRY_AGAIN_LATER } from "../errors.ts";
import type { Family } from "../ip/address.ts";
import { itemAt, textAt } from "../lists.ts";
import { decodeChain, decodeTable } from "../netlink/nftables/decode.ts";
import { writeDeleteChain, writeDeleteRule } from "../netlink/nftables/messages.ts";
import {
  NFPROTO_BRIDGE,
  NFPROTO_INET,
  NFPROTO_IPV4,
  NFPROTO_IPV6,
  NFT_GOTO,
  NFT_JUMP,
  type Rule,
  type Table,
} from "../netlink/nftables/objects.ts";
import { listRules, writeGetChain, writeGetTable } from "../netlink/nftables/queries.ts";
import type { NetlinkError, NetlinkSocket } from "../netlink/socket.ts";
import { sha512 } from "../sha512.ts";
import { EBUSY, ENOENT, isTransient } from "../sys/errno.ts";
import { hexOf } from "../text.ts";
import { removeIptables } from "./iptables.ts";
import { hasLegacyTable } from "./iptables-kernel.ts";
import {
  DNAT_CHAIN,
  FIRST_IFNAME,
  hostPortChain,
  type IptablesOwner,
  isReferenceChain,
  masqueradeChainName,
  referenceChain,
} from "./iptables-rules.ts";
import { type SavedTable, savedRules } from "./iptables-text.ts";
import { RecordStore } from "./store.ts";

/** The reference's portmap, and the bridge plugin's ipMasq and macspoofchk. */
export type ReferencePart = "hostports" | "masquerade" | "spoofcheck";

/** A chain that exists if the reference left anything. */
interface Trace {
  readonly family: number;
  readonly table: string;
  readonly chain: string;
}

/** A rule, or a chain if the handle is 0. */
interface Deletion {
  readonly family: number;
  readonly table: string;
  readonly chain: string;
  readonly handle: bigint;
}

const HOSTPORT_TABLE = "cni_hostport";
const MASQUERADE_TABLE = "cni_plugins_masquerade";
const MASQUERADE_CHAIN = "masq_checks";
/** How often removal is tried if the reference changes the same rules at the same time. */
const TRIES = 5;

/**
 * Removes what was left for an attachment. Costs one question to the kernel if nothing was left for any attachment.
 * @param socket a netfilter socket without a batch begun
 * @returns whether anything was removed
 * @throws CniError 100 if the kernel or iptables refuses; 11 if others keep changing the same rules
 */
export function removeReference(socket: NetlinkSocket, owner: IptablesOwner, parts: readonly ReferencePart[]): boolean {
  /* Most nodes have none of these tables, and the names of chains take time to compute. */
  const tables = existingTables(socket, parts);
  const legacy = parts.includes("hostports") || parts.includes("masquerade") ? legacyFamilies() : [];
  if (tables.length === 0 && legacy.length === 0) return false;
  const own = legacy.length > 0 || tables.some((table) => table.name === "nat") ? ownChains(owner, parts) : [];
  const traces = tracesOf(owner, parts, own).filter((trace) =>
    tables.some((table) => table.name === trace.table && table.family === trace.family),
  );
  let removed = false;
  for (let attempt = 0; ; attempt += 1) {
    const found = existing(socket, traces);
    const deletions: Deletion[] = [];
    for (const trace of found) {
      /* After a failure the chain is in use by rules in other chains: then all chains are searched. */
      for (const deletion of deletionsFor(socket, owner, trace, attempt > 0)) deletions.push(deletion);
    }
    if (deletions.length === 0) break;
    const failure = attemptDeletions(socket, deletions);
    if (failure === null) {
      removed = true;
      break;
    }
    if ((failure.errno !== ENOENT && failure.errno !== EBUSY) || attempt >= TRIES) throw refused(failure);
  }
  if (own.length === 0) return removed;
  return removeByProgram(socket, own, commonChains(owner, parts), legacy) || removed;
}

/** The end of the first word of the reference's masquerading comments: a hash of the interface, the same in any network. */
export function masqueradeInstance(owner: IptablesOwner): string {
  return `-${hexOf(sha512(`${owner.ifname}:${owner.containerId}`).subarray(0, 8), "")}`;
}

/** The tables that exist of those that could hold something, asked for in one send. */
function existingTables(socket: NetlinkSocket, parts: readonly ReferencePart[]): Table[] {
  const tables: Table[] = [];
  for (const family of [NFPROTO_IPV4, NFPROTO_IPV6]) {
    if (parts.includes("hostports")) tables.push({ family, name: HOSTPORT_TABLE, comment: "" });
    if (parts.includes("hostports") || parts.includes("masquerade")) tables.push({ family, name: "nat", comment: "" });
  }
  if (parts.includes("masquerade")) tables.push({ family: NFPROTO_INET, name: MASQUERADE_TABLE, comment: "" });
  if (parts.includes("spoofcheck")) tables.push({ family: NFPROTO_BRIDGE, name: "nat", comment: "" });
  for (const { family, name } of tables) writeGetTable(socket, family, name);
  const found: Table[] = [];
  socket.exchange((message) => {
    found.push(decodeTable(message.body));
  });
  return found;
}

/** The chains to ask for. */
function tracesOf(owner: IptablesOwner, parts: readonly ReferencePart[], own: readonly string[]): Trace[] {
  const traces: Trace[] = [];
  for (const family of [NFPROTO_IPV4, NFPROTO_IPV6]) {
    if (parts.includes("hostports")) traces.push({ family, table: HOSTPORT_TABLE, chain: "hostports" });
    for (const chain of own) traces.push({ family, table: "nat", chain });
  }
  if (parts.includes("masquerade")) {
    traces.push({ family: NFPROTO_INET, table: MASQUERADE_TABLE, chain: MASQUERADE_CHAIN });
  }
  if (parts.includes("spoofcheck")) {
    const chain = `cni-br-iface-${owner.containerId}-${owner.ifname}`;
    for (const name of [chain, `${chain}-mac`]) traces.push({ family: NFPROTO_BRIDGE, table: "nat", chain: name });
  }
  return traces;
}

/** The chains that exist, asked for in one send. A kernel without one of the families has none of its chains. */
function existing(socket: NetlinkSocket, traces: readonly Trace[]): Trace[] {
  const found: Trace[] = [];
  for (const { family, table, chain } of traces) writeGetChain(socket, family, table, chain);
  socket.exchange((message, index) => {
    const trace = traces[index];
    if (trace !== undefined && decodeChain(message.body).name === trace.chain) found.push(trace);
  });
  return found;
}

function deletionsFor(socket: NetlinkSocket, owner: IptablesOwner, trace: Trace, everywhere: boolean): Deletion[] {
  const { family, table, chain } = trace;
  if (table === HOSTPORT_TABLE) {
    /* The reference's comment does not name the network: its own DEL removes all of the container's rules, too. */
    return rulesOf(socket, trace, "", (rule) => rule.comment === owner.containerId);
  }
  if (table === MASQUERADE_TABLE) {
    const instance = masqueradeInstance(owner);
    return rulesOf(socket, trace, chain, (rule) => textAt(rule.comment.split(","), 0).endsWith(instance));
  }
  let entry = chain.startsWith("CNI-DN-") ? DNAT_CHAIN : "POSTROUTING";
  if (family === NFPROTO_BRIDGE) entry = "PREROUTING";
  const deletions = rulesOf(socket, trace, everywhere ? "" : entry, (rule) => leadsTo(rule, chain));
  return [...deletions, { family, table, chain, handle: 0n }];
}

/** The deletions of the chosen rules of a chain of the trace's table, or of all its chains for "". */
function rulesOf(socket: NetlinkSocket, trace: Trace, chain: string, chosen: (rule: Rule) => boolean): Deletion[] {
  const { family, table } = trace;
  const rules = listRules(socket, family, table, chain, true).filter(chosen);
  return rules.map((rule) => ({ family, table, chain: rule.chain, handle: rule.handle }));
}

function leadsTo(rule: Rule, chain: string): boolean {
  return rule.expressions.some((expression) => {
    if (expression.kind !== "verdict" || expression.verdict.chain !== chain) return false;
    return expression.verdict.code === NFT_JUMP || expression.verdict.code === NFT_GOTO;
  });
}

/** Deletes all or nothing. @returns the kernel's refusal, or null */
function attemptDeletions(socket: NetlinkSocket, deletions: readonly Deletion[]): NetlinkError | null {
  const batch = socket.batch();
  for (const { family, table, chain, handle } of deletions) {
    if (handle === 0n) writeDeleteChain(batch, family, table, chain);
    else writeDeleteRule(batch, family, table, chain, handle);
  }
  return itemAt(batch.attempt(), 0);
}

/**
 * Removes what netlink cannot reach, or does not tell enough of.
 * @param own chains that are the attachment's, whichever suite made them
 * @param common chains that are the attachment's if the reference made them, which their comments tell
 * @param legacy the IP versions for which the older iptables has tables
 */
function removeByProgram(
  socket: NetlinkSocket,
  own: readonly string[],
  common: readonly string[],
  legacy: readonly Family[],
): boolean {
  const chosen = (saved: readonly SavedTable[]): string[] => [
    ...own,
    ...common.filter((chain) => isReferenceChain(savedRules(saved, chain))),
  ];
  const traces: Trace[] = [];
  for (const family of [NFPROTO_IPV4, NFPROTO_IPV6]) {
    for (const chain of common) traces.push({ family, table: "nat", chain });
  }
  const found = traces.length === 0 ? [] : existing(socket, traces);
  const families: Family[] = [4, 6];
  let removed = false;
  for (const family of families) {
    const number = family === 4 ? NFPROTO_IPV4 : NFPROTO_IPV6;
    if (found.some((trace) => trace.family === number) && removeIptables(family, "-nft", chosen)) removed = true;
    if (legacy.includes(family) && removeIptables(family, "-legacy", chosen)) removed = true;
  }
  return removed;
}

/** The IP versions for which the older iptables has a table "nat" in this namespace. */
function legacyFamilies(): Family[] {
  const families: Family[] = [4, 6];
  return families.filter((family) => hasLegacyTable(family, "nat"));
}

/** The chains that are the attachment's, whichever suite made them. */
function ownChains(owner: IptablesOwner, parts: readonly ReferencePart[]): string[] {
  const chains: string[] = [];
  if (parts.includes("hostports")) chains.push(hostPortChain(owner));
  if (parts.includes("masquerade")) chains.push(masqueradeChainName(owner));
  return chains;
}

/** The chains that the reference makes for all interfaces of a container in a network. Ours for the first have the same names. */
function commonChains(owner: IptablesOwner, parts: readonly ReferencePart[]): string[] {
  const chains: string[] = [];
  if (owner.ifname === FIRST_IFNAME) return chains;
  /* The rules of published ports have no comments: without a record they are the reference's. */
  const first = { ...owner, ifname: FIRST_IFNAME, plugin: "portmap" };
  if (parts.includes("hostports") && !RecordStore.has(first)) {
    chains.push(referenceChain("CNI-DN-", owner.network, owner.containerId));
  }
  if (parts.includes("masquerade")) chains.push(referenceChain("CNI-", owner.network, owner.containerId));
  return chains;
}

function refused(error: NetlinkError): CniError {
  const changing = error.errno === ENOENT || error.errno === EBUSY;
  return new CniError(
    changing || isTransient(error.errno) ? TRY_AGAIN_LATER : KERNEL_REFUSED,
    `failed to remove what the reference plugins left in the packet filter: ${error.message}`,
    changing ? "other programs keep changing the same rules; nothing was changed" : "nothing was changed",
  );
}
