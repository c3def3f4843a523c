/**
 * What iptables' own tables hold, asked of the kernel: no program has to be started to see that nothing is to be done. That
 * is possible where iptables is made of nf_tables. The kernel tells the older iptables' rules to its own program alone.
 */
import { readText } from "../host/io.ts";
import type { Family } from "../ip/address.ts";
import { itemAt, textAt } from "../lists.ts";
import { readU8, readU32 } from "../netlink/message-reader.ts";
import { decodeChain } from "../netlink/nftables/decode.ts";
import {
  type Expression,
  type MatchExpression,
  NF_ACCEPT,
  NFPROTO_IPV4,
  NFPROTO_IPV6,
  NFT_JUMP,
  type Rule,
  type Verdict,
} from "../netlink/nftables/objects.ts";
import { listRules, writeGetChain } from "../netlink/nftables/queries.ts";
import type { NetlinkSocket } from "../netlink/socket.ts";
import type { IptablesPlan, IptablesRule } from "./iptables-plan.ts";
import { isRule } from "./managed-table.ts";

/** Whether the older iptables has a table in this network namespace. */
export function hasLegacyTable(family: Family, table: string): boolean {
  const names = readText(`/proc/net/${family === 4 ? "ip" : "ip6"}_tables_names`) ?? "";
  return names.split("\n").includes(table);
}

/** Whether forwarded packets pass a chain FORWARD of iptables, of either kind. */
export function hasForwardChain(socket: NetlinkSocket, family: Family): boolean {
  if (hasLegacyTable(family, "filter")) return true;
  let found = false;
  writeGetChain(socket, protocolOf(family), "filter", "FORWARD");
  socket.exchange((message) => {
    if (decodeChain(message.body).hook !== null) found = true;
  });
  return found;
}

/**
 * Whether the rules that accept forwarded packets are all there, each chain's in their order: jumps, and accepts by a mark.
 * False where it cannot be told.
 * @throws NetlinkError
 */
export function hasForwarding(socket: NetlinkSocket, plan: IptablesPlan): boolean {
  if (hasLegacyTable(plan.family, "filter")) return false;
  const chains: string[] = [];
  for (const { chain } of plan.sharedRules) if (!chains.includes(chain)) chains.push(chain);
  for (const chain of chains) {
    const found = listRules(socket, protocolOf(plan.family), "filter", chain, true);
    let at = 0;
    for (const rule of plan.sharedRules) {
      if (rule.chain !== chain) continue;
      while (at < found.length && !isSame(itemAt(found, at), rule)) at += 1;
      at += 1;
    }
    if (at > found.length) return false;
  }
  return true;
}

function isSame(found: Rule | null, wanted: IptablesRule): boolean {
  if (found === null) return false;
  const target = textAt(wanted.text.split(" -j "), 1);
  const matches: Expression[] = [];
  let isTarget = false;
  for (const expression of found.expressions) {
    if (expression.kind === "verdict") isTarget = leadsTo(expression.verdict, target);
    else if (isMatch(expression)) matches.push(expression);
  }
  if (!isTarget) return false;
  return target === "ACCEPT" ? isMark(matches, textAt(wanted.text.split(" "), 3)) : matches.length === 0;
}

function leadsTo({ code, chain }: Verdict, target: string): boolean {
  return target === "ACCEPT" ? code === NF_ACCEPT : code === NFT_JUMP && chain === target;
}

/** Whether an expression may keep a packet from the rule's verdict. */
function isMatch(expression: Expression): boolean {
  return expression.kind !== "counter" && !(expression.kind === "match" && expression.name === "comment");
}

/** Whether matches are those of `-m mark --mark 0x1000/0x1000`: a match of iptables, or in newer versions expressions. */
function isMark(matches: readonly Expression[], option: string): boolean {
  const bits = parseInt(textAt(option.split("/"), 0), 16);
  for (const match of matches) {
    if (match.kind === "match") return matches.length === 1 && isMarkMatch(match, bits);
  }
  return isRule(matches, NFPROTO_IPV4, `mark & ${bits} == ${bits}`);
}

/** struct xt_mark_mtinfo1 in linux/netfilter/xt_mark.h: mark, mask, whether it is inverted. */
function isMarkMatch({ name, revision, info }: MatchExpression, bits: number): boolean {
  if (name !== "mark" || revision !== 1 || info.length < 9) return false;
  return readU32(info, 0) === bits && readU32(info, 4) === bits && readU8(info, 8) === 0;
}

function protocolOf(family: Family): number {
  return family === 4 ? NFPROTO_IPV4 : NFPROTO_IPV6;
}
