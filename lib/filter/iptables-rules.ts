/**
 * The rules of the iptables backend as values, for published ports and for masquerading. Chains and comments are those of the
 * reference suite, so that both suites can work on one node. Pure.
 */
import { type Address, type Family, formatAddress, formatPrefix, networkOf, type Prefix } from "../ip/address.ts";
import { sha512 } from "../sha512.ts";
import { hexNumber, hexOf } from "../text.ts";
import type { ListenerPort } from "./hostports.ts";
import type { IptablesChain, IptablesPlan, IptablesRule } from "./iptables-plan.ts";

/** The owner of a chain. */
export interface IptablesOwner {
  readonly network: string;
  readonly containerId: string;
  readonly ifname: string;
}

/** A published port. */
export interface IptablesPort {
  readonly protocol: string;
  readonly hostPort: number;
  readonly containerPort: number;
  /** The one address of the host it is for; null for all. */
  readonly hostIp: Address | null;
}

/** A port of the host that the configuration asks for. */
export interface AskedPort {
  readonly protocol: string;
  readonly hostPort: number;
}

/** How published ports are to be reached. */
export interface IptablesOptions {
  /** Further matches, one argument each: `["-s", "10.0.0.0/8"]`. */
  readonly conditions: readonly string[];
  /** Whether the source is masqueraded where replies would not pass this host otherwise. */
  readonly snat: boolean;
  readonly masqAll: boolean;
  /** Whether replies to the pod's own subnet do not pass this host: then its neighbours are masqueraded, too. */
  readonly sameLink: boolean;
  /** The link that leads to the pod, where 127.0.0.1 gets there; "" if it does not. */
  readonly localnetLink: string;
  /** The bit of the packet mark that means "masquerade", 0 to 31. */
  readonly markMasqBit: number;
  /** A chain of another program that sets the mark by which that program masquerades; "" for ours. */
  readonly externalSetMarkChain: string;
  /** Whether these ports come before the same ports of others. */
  readonly lastWins: boolean;
  /** Ports that programs of the host listen on. */
  readonly listeners: readonly ListenerPort[];
  /** All ports that the configuration asks for, of both IP versions: as in the reference, the rules to the chain name them all. */
  readonly asked: readonly AskedPort[];
}

/** The chain that jumps to the chains of published ports. */
export const DNAT_CHAIN = "CNI-HOSTPORT-DNAT";
/** What the names of chains with published ports begin with. */
export const HOSTPORT_PREFIX = "CNI-DN-";
const SETMARK_CHAIN = "CNI-HOSTPORT-SETMARK";
const MASQ_CHAIN = "CNI-HOSTPORT-MASQ";
/** Not in the reference, which leaves 127.0.0.0/8 open to neighbours (CVE-2020-8558). */
export const LOCALNET_CHAIN = "CNI-HOSTPORT-LOCALNET";
/** The name of a container's first interface: its chains have the names that the reference gives them. */
export const FIRST_IFNAME = "eth0";
/* XT_MAX_COMMENT_LEN (linux/netfilter/xt_comment.h) without the NUL; XT_MULTI_PORTS (xt_multiport.h). */
const MAX_COMMENT = 255;
const MAX_PORTS = 15;

/** The chain with an attachment's published ports. */
export function hostPortChain(owner: IptablesOwner): string {
  return `${HOSTPORT_PREFIX}${ownerDigest(owner)}`.slice(0, 28);
}

/** The chain with an attachment's masquerading. */
export function masqueradeChainName(owner: IptablesOwner): string {
  return `CNI-${ownerDigest(owner)}`.slice(0, 28);
}

/** The name that the reference gives a chain. It does not depend on the interface. */
export function referenceChain(prefix: string, network: string, containerId: string): string {
  return (prefix + hexOf(sha512(network + containerId).subarray(0, 12), "")).slice(0, 28);
}

/** Whether a chain of such a name may be the reference's, by its saved rules: our comments name the interface. */
export function isReferenceChain(rules: readonly string[]): boolean {
  return !rules.some((rule) => rule.includes('--comment "if: '));
}

/**
 * The rules for published ports of one IP version.
 * @param pod the pod's address and its subnet's length
 * @param ports at least one; their host addresses are of the pod's IP version
 */
export function hostPortPlan(
  owner: IptablesOwner,
  pod: Prefix,
  ports: readonly IptablesPort[],
  options: IptablesOptions,
): IptablesPlan {
  const chain = hostPortChain(owner);
  const family = pod.address.family;
  const marks = options.snat || options.masqAll;
  const setMark = options.externalSetMarkChain === "" ? SETMARK_CHAIN : options.externalSetMarkChain;
  const rules: IptablesRule[] = [];
  for (const port of ports) {
    const to = port.hostIp === null ? "" : `-d ${hostText(port.hostIp)} `;
    const packet = `${to}-p ${port.protocol} -m ${port.protocol} --dport ${port.hostPort}`;
    for (const listener of port.hostIp === null ? options.listeners : []) {
      if (listener.protocol !== port.protocol || listener.hostPort !== port.hostPort) continue;
      if (listener.address.family !== family) continue;
      rules.push(natRule(chain, `-d ${hostText(listener.address)} ${packet} -j RETURN`));
    }
    for (const source of masqueradedSources(pod, options)) {
      rules.push(natRule(chain, `${source}${packet} -j ${setMark}`));
    }
    const address = formatAddress(pod.address);
    const target = family === 4 ? address : `[${address}]`;
    rules.push(natRule(chain, `${packet} -j DNAT --to-destination ${target}:${port.containerPort}`));
  }
  const entries = entryRules(owner, chain, options);
  const localnetLink = family === 4 ? options.localnetLink : "";
  const shared = sharedRules(family, marks && options.externalSetMarkChain === "", options.markMasqBit, localnetLink);
  return {
    family,
    sharedChains: sharedChains(shared),
    sharedRules: shared,
    chain,
    rules: [...rules, ...entries],
    localnetLink,
  };
}

/**
 * The rules that masquerade what leaves the pod network.
 * @param pod the attachment's addresses of one IP version, with their subnets' lengths; at least one
 * @param exempt further destinations, of any IP version, that see the pod's own address
 */
export function masqueradePlan(
  owner: IptablesOwner,
  pod: readonly Prefix[],
  exempt: readonly Prefix[],
  family: Family,
): IptablesPlan {
  const chain = masqueradeChainName(owner);
  const comment = `-m comment --comment ${quoted(clipped(`if: "${owner.ifname}" ${ownerText(owner)}`))}`;
  const networks: string[] = [];
  for (const prefix of [...pod, ...exempt]) {
    const network = formatPrefix({ address: networkOf(prefix), length: prefix.length });
    if (prefix.address.family === family && !networks.includes(network)) networks.push(network);
  }
  const rules = networks.map((network) => natRule(chain, `-d ${network} ${comment} -j ACCEPT`));
  /* Replies to multicast packets could not be translated back. */
  const multicast = family === 4 ? "224.0.0.0/4" : "ff00::/8";
  rules.push(natRule(chain, `! -d ${multicast} ${comment} -j MASQUERADE --random-fully`));
  for (const { address } of pod) {
    const text = `-s ${hostText(address)} -m comment --comment ${quoted(clipped(ownerText(owner)))} -j ${chain}`;
    rules.push(natRule("POSTROUTING", text));
  }
  return { family, sharedChains: [], sharedRules: [], chain, rules, localnetLink: "" };
}

/** The rules that send packets for the ports to the chain: one for each protocol and up to 15 ports. */
function entryRules(owner: IptablesOwner, chain: string, options: IptablesOptions): IptablesRule[] {
  const comment = quoted(clipped(`dnat ${ownerText(owner)}`));
  const conditions = options.conditions.map((token) => ` ${quoted(token)}`).join("");
  const rules: IptablesRule[] = [];
  for (const protocol of ["sctp", "tcp", "udp"]) {
    const numbers: number[] = [];
    const known = new Set<number>();
    for (const port of options.asked) {
      if (port.protocol !== protocol || known.has(port.hostPort)) continue;
      known.add(port.hostPort);
      numbers.push(port.hostPort);
    }
    for (let at = 0; at < numbers.length; at += MAX_PORTS) {
      const list = numbers.slice(at, at + MAX_PORTS).join(",");
      const match = `-p ${protocol} -m comment --comment ${comment} -m multiport --dports ${list}`;
      const text = `${match}${conditions} -j ${chain}`;
      rules.push({ table: "nat", chain: DNAT_CHAIN, first: options.lastWins, text, marks: [] });
    }
  }
  return rules;
}

/** The matches for the sources that are masqueraded, each with a trailing space; "" matches all sources. */
function masqueradedSources(pod: Prefix, options: IptablesOptions): string[] {
  if (options.masqAll) return [""];
  if (!options.snat) return [];
  const subnet = formatPrefix({ address: networkOf(pod), length: pod.length });
  const sources = [`-s ${options.sameLink ? subnet : hostText(pod.address)} `];
  if (pod.address.family === 4 && options.localnetLink !== "") sources.push("-s 127.0.0.1/32 ");
  return sources;
}

function sharedRules(family: Family, marks: boolean, markBit: number, localnetLink: string): IptablesRule[] {
  const rules: IptablesRule[] = [];
  if (localnetLink !== "") {
    for (const match of ["-s 127.0.0.0/8", "-d 127.0.0.0/8"]) {
      rules.push(
        sharedRule("raw", "PREROUTING", false, `${match} -j ${LOCALNET_CHAIN}`, [match, `-j ${LOCALNET_CHAIN}`]),
      );
    }
    const drop = `-i ${localnetLink} -j DROP`;
    rules.push(sharedRule("raw", LOCALNET_CHAIN, false, drop, [drop]));
  }
  const local = `-m addrtype --dst-type LOCAL -j ${DNAT_CHAIN}`;
  /* The kernel drops packets for loopback addresses that arrive from a network, but only after this hook. */
  const loopback = family === 4 ? "! -d 127.0.0.0/8" : "! -d ::1/128";
  rules.push(
    sharedRule("nat", "PREROUTING", false, `${loopback} ${local}`, [loopback, `-j ${DNAT_CHAIN}`]),
    sharedRule("nat", "OUTPUT", false, local, [`-j ${DNAT_CHAIN}`]),
  );
  if (marks) {
    const bit = `0x${hexNumber((1 << markBit) >>> 0)}`;
    const mark = `${bit}/${bit}`;
    const why = quoted("CNI portfwd requiring masquerade");
    const jump = `-j ${MASQ_CHAIN}`;
    const set = `-m comment --comment ${quoted("CNI portfwd masquerade mark")} -j MARK --set-xmark ${mark}`;
    rules.push(sharedRule("nat", "POSTROUTING", true, `-m comment --comment ${why} ${jump}`, [jump]));
    rules.push(sharedRule("nat", SETMARK_CHAIN, false, set, [mark]));
    rules.push(sharedRule("nat", MASQ_CHAIN, false, `-m mark --mark ${mark} -j MASQUERADE`, [mark]));
  }
  return rules;
}

/** The chains that shared rules are in, each once. */
function sharedChains(rules: readonly IptablesRule[]): IptablesChain[] {
  const chains: IptablesChain[] = [{ table: "nat", name: DNAT_CHAIN }];
  for (const { table, chain } of rules) {
    if (chain.startsWith("CNI-") && !chains.some((other) => other.name === chain)) chains.push({ table, name: chain });
  }
  return chains;
}

function natRule(chain: string, text: string): IptablesRule {
  return { table: "nat", chain, first: false, text, marks: [] };
}

function sharedRule(table: string, chain: string, first: boolean, text: string, marks: string[]): IptablesRule {
  return { table, chain, first, text, marks };
}

/** A container's further interfaces in the same network have chains of their own, unlike in the reference. */
function ownerDigest(owner: IptablesOwner): string {
  const further = owner.ifname === FIRST_IFNAME ? "" : owner.ifname;
  return hexOf(sha512(owner.network + owner.containerId + further).subarray(0, 12), "");
}

function ownerText(owner: IptablesOwner): string {
  return `name: "${owner.network}" id: "${owner.containerId}"`;
}

function hostText(address: Address): string {
  return `${formatAddress(address)}/${address.family === 4 ? 32 : 128}`;
}

function clipped(comment: string): string {
  return comment.length <= MAX_COMMENT ? comment : `${comment.slice(0, MAX_COMMENT - 3)}...`;
}

/** An argument as iptables-restore reads it (add_param_to_argv in iptables/xshared.c). */
function quoted(argument: string): string {
  if (!argument.includes(" ") && !argument.includes('"') && !argument.includes("\\")) return argument;
  return `"${argument.split("\\").join("\\\\").split('"').join('\\"')}"`;
}
