/**
 * Other people's firewalls that cut this node's pods off, or the node from its peers: found by following packets through
 * their rules, and on request opened. An accept in a table of our own does not undo a drop in theirs.
 */
import { CniError } from "../errors.ts";
import { compileRule } from "../filter/language.ts";
import { type Address, addressOf, formatPrefix, type Prefix, parseAddress } from "../ip/address.ts";
import { getLinkByIndex, getLinkByName } from "../netlink/link.ts";
import { listHooked } from "../netlink/nftables/foreign.ts";
import { writeInsertRule } from "../netlink/nftables/messages.ts";
import {
  type Chain,
  type Element,
  type Expression,
  NF_DROP,
  NFPROTO_INET,
  NFPROTO_IPV4,
  NFPROTO_IPV6,
} from "../netlink/nftables/objects.ts";
import { listElements, listRules } from "../netlink/nftables/queries.ts";
import { findPaths } from "../netlink/path.ts";
import { NETLINK_NETFILTER, NetlinkError, NetlinkSocket } from "../netlink/socket.ts";
import { EINVAL, SystemError } from "../sys/errno.ts";
import { ACCEPTED, GOES_ON, type KnownPacket, outcomesOf, type Ruleset } from "./firewall-verdict.ts";
import { deviceAlias, deviceName, type OverlaySettings, TABLE_PREFIX } from "./settings.ts";

const NF_INET_LOCAL_IN = 1;
const NF_INET_FORWARD = 2;
const TCP = 6;
const UDP = 17;
const STATE_NEW = 8;
const STATE_UNTRACKED = 64;

/** A packet that has to pass, in words, and the rules that let it. */
interface Probe {
  readonly hook: number;
  readonly packet: KnownPacket;
  readonly what: string;
  readonly rule: string;
  readonly advice: string;
}

/**
 * Looks for chains that drop for certain what has to pass, and with `firewall` puts an accepting rule at their beginning.
 * @returns what was found or done, a line each
 * @throws CniError 11 if the call is stopped
 */
export function lookAtFirewalls(socket: NetlinkSocket, settings: OverlaySettings): string[] {
  let filter: NetlinkSocket;
  try {
    filter = new NetlinkSocket(NETLINK_NETFILTER);
  } catch (error) {
    /* Without nf_tables nobody drops in it. */
    if (error instanceof SystemError) return [];
    throw error;
  }
  try {
    const notes: string[] = [];
    const probes = probesFor(socket, settings);
    for (const family of probes.length === 0 ? [] : [NFPROTO_IPV4, NFPROTO_IPV6, NFPROTO_INET]) {
      for (const found of listHooked(filter, family)) {
        if (found.table.startsWith(TABLE_PREFIX)) continue;
        /* All of them first: an accepting rule for one may be a "maybe" for another. */
        const dropped: Probe[] = [];
        for (const probe of probes) {
          if (comesTo(probe, found) && drops(filter, found, probe.packet)) dropped.push(probe);
        }
        for (const probe of dropped) {
          notes.push(settings.firewall ? open(filter, found, probe, settings) : noteOf(found, probe));
        }
      }
    }
    return notes;
  } catch (error) {
    /* Nothing of the call's own depends on it; whoever stops the call is heard. */
    if (error instanceof CniError) throw error;
    return error instanceof NetlinkError && error.errno === EINVAL
      ? []
      : [`cannot look at the firewalls: ${error instanceof Error ? error.message : ""}`];
  } finally {
    filter.abandon();
  }
}

function probesFor(socket: NetlinkSocket, settings: OverlaySettings): Probe[] {
  const probes: Probe[] = [];
  const name = deviceName(settings);
  const device = getLinkByName(socket, name);
  if (device === null) return probes;
  for (const cidr of settings.podCidrs) {
    const pod = podOf(cidr);
    const path = findPaths(socket, [pod])[0] ?? null;
    const bridge = path === null || path.local || path.gateway !== null ? null : getLinkByIndex(socket, path.link);
    /* Where no pod has been yet nobody can tell what is accepted by the name of its link. */
    if ((bridge === null || bridge.index === device.index) && !settings.firewall) continue;
    const inner: Named = bridge === null || bridge.index === device.index ? NOWHERE : bridge;
    const network = formatPrefix(cidr);
    const ip = pod.family === 4 ? "ip" : "ip6";
    const program = pod.family === 4 ? "iptables" : "ip6tables";
    const none = new Uint8Array(0);
    probes.push(
      {
        hook: NF_INET_FORWARD,
        packet: forwarded(device, inner, familyOf(pod), none, pod.bytes),
        what: `what pods of other nodes send to this node's ${network}`,
        rule: `${ip} daddr ${network} counter accept`,
        advice: `${program} -I FORWARD -d ${network} -j ACCEPT`,
      },
      {
        hook: NF_INET_FORWARD,
        packet: forwarded(inner, device, familyOf(pod), pod.bytes, none),
        what: `what this node's pods of ${network} send to other nodes`,
        rule: `${ip} saddr ${network} counter accept`,
        advice: `${program} -I FORWARD -s ${network} -j ACCEPT`,
      },
    );
  }
  probes.push(...arriving(socket, settings, device.alias));
  return probes;
}

/** VXLAN from a peer to the address that the device's alias tells. */
function arriving(socket: NetlinkSocket, settings: OverlaySettings, alias: string): Probe[] {
  const [, link = "", text = ""] = alias.slice(deviceAlias(settings).length).trim().split(" ");
  const address = parseAddress(text);
  const lower = link === "" ? null : getLinkByName(socket, link);
  if (address === null || lower === null) return [];
  const untracked = settings.notrack && (settings.peersOnly || settings.masquerade);
  const packet: KnownPacket = {
    family: familyOf(address),
    iifname: lower.name,
    iif: lower.index,
    oifname: "",
    oif: 0,
    source: new Uint8Array(0),
    destination: address.bytes,
    protocol: UDP,
    port: settings.port,
    state: untracked ? STATE_UNTRACKED : STATE_NEW,
  };
  const program = address.family === 4 ? "iptables" : "ip6tables";
  const tracked = untracked ? ', or "notrack": false if that accepts the port only with a "ct state"' : "";
  return [
    {
      hook: NF_INET_LOCAL_IN,
      packet,
      what: `VXLAN from other nodes, UDP port ${settings.port}`,
      rule: `udp dport ${settings.port} counter accept`,
      advice: `${program} -I INPUT -p udp --dport ${settings.port} -j ACCEPT${tracked}`,
    },
  ];
}

interface Named {
  readonly name: string;
  readonly index: number;
}

const NOWHERE: Named = { name: "", index: 0 };

/** The first packet of a connection that passes through. */
function forwarded(from: Named, to: Named, family: number, source: Uint8Array, destination: Uint8Array): KnownPacket {
  return {
    family,
    iifname: from.name,
    iif: from.index,
    oifname: to.name,
    oif: to.index,
    source,
    destination,
    protocol: TCP,
    port: -1,
    state: STATE_NEW,
  };
}

function familyOf(address: Address): number {
  return address.family === 4 ? NFPROTO_IPV4 : NFPROTO_IPV6;
}

/** An address that a pod may have: the third of the network, or the network's own where it has no more. */
function podOf(cidr: Prefix): Address {
  const bytes = cidr.address.bytes.slice();
  const last = bytes.length - 1;
  if (cidr.length <= last * 8) bytes[last] = (bytes[last] ?? 0) | 2;
  return addressOf(bytes);
}

/** Whether a probe's packet comes to a chain. */
function comesTo(probe: Probe, chain: Chain): boolean {
  if (chain.hook === null || chain.hook.hook !== probe.hook) return false;
  return chain.family === NFPROTO_INET || chain.family === probe.packet.family;
}

/** Whether a chain drops the packet whatever is not known of it. */
function drops(filter: NetlinkSocket, found: Chain, packet: KnownPacket): boolean {
  const { family, table, name } = found;
  const outcomes = outcomesOf(rulesetOf(filter, family, table), name, packet);
  if ((outcomes & ACCEPTED) !== 0) return false;
  return (outcomes & GOES_ON) === 0 || found.policy === NF_DROP;
}

/** A table, read as far as it is asked for. */
function rulesetOf(filter: NetlinkSocket, family: number, table: string): Ruleset {
  return {
    rulesOf: (chain: string): readonly (readonly Expression[])[] => {
      const rules: (readonly Expression[])[] = [];
      for (const rule of listRules(filter, family, table, chain, true)) rules.push(rule.expressions);
      return rules;
    },
    elementsOf: (set: string): readonly Element[] | null => {
      try {
        return listElements(filter, { family, table, name: set, key: [], data: [] });
      } catch (error) {
        if (error instanceof NetlinkError) return null;
        throw error;
      }
    },
  };
}

/** "ip filter FORWARD", as nft names it. */
function nameOf(chain: Chain): string {
  const family = chain.family === NFPROTO_INET ? "inet" : chain.family === NFPROTO_IPV4 ? "ip" : "ip6";
  return `${family} ${chain.table} ${chain.name}`;
}

function noteOf(found: Chain, probe: Probe): string {
  return `the firewall's chain ${nameOf(found)} drops ${probe.what}. Set "firewall": true, or accept it there, as: ${probe.advice}`;
}

/** Puts an accepting rule in front, in the form that iptables gives it, which its programs can read. */
function open(filter: NetlinkSocket, found: Chain, probe: Probe, settings: OverlaySettings): string {
  const { family, table, name } = found;
  const expressions = compileRule(family, probe.rule);
  const comment = `podwire ${deviceName(settings)}`;
  const batch = filter.batch();
  writeInsertRule(batch, { family, table, chain: name, expressions, comment, handle: 0n });
  try {
    batch.commit();
  } catch (error) {
    if (!(error instanceof NetlinkError)) throw error;
    return `the firewall's chain ${nameOf(found)} drops ${probe.what}, and takes no rule (${error.message}): tell the firewall itself to accept it`;
  }
  return `the firewall's chain ${nameOf(found)} dropped ${probe.what}; now it begins with: ${probe.rule}`;
}
