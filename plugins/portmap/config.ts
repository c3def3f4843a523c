/** The portmap plugin's part of a network configuration: every option and every port mapping, checked, defaults filled in. */

import type { NetworkConfig } from "../../lib/cni/config.ts";
import type { Fields } from "../../lib/cni/fields.ts";
import type { Call } from "../../lib/cni/plugin.ts";
import { CniError } from "../../lib/errors.ts";
import { isChainName } from "../../lib/filter/iptables-lines.ts";
import { type Address, addressOf, formatAddress, parseAddress } from "../../lib/ip/address.ts";
import { itemAt, textAt } from "../../lib/lists.ts";
import { asciiLower, clip } from "../../lib/text.ts";

export type Protocol = "tcp" | "udp" | "sctp";

/** "" leaves the choice to the node. */
export type WantedBackend = "" | "nftables" | "iptables";

/** One port of the host that leads to one of the container. */
export interface Mapping {
  /** Where it stands in runtimeConfig.portMappings, from 0. */
  readonly index: number;
  readonly protocol: Protocol;
  readonly hostPort: number;
  readonly containerPort: number;
  /** The one address of the host it is for; null for all of the families that `family` names. */
  readonly hostIp: Address | null;
  /** 4 or 6 for one IP version, 0 for both; that of `hostIp` if there is one. */
  readonly family: 0 | 4 | 6;
}

/** Everything the configuration says, ready for use. */
export interface PortmapConfig {
  /** The backend that the configuration asks for or whose language it is written in; "" if any will do. */
  readonly backend: WantedBackend;
  /** Whether the source address is replaced where the reply would not find its way back otherwise. */
  readonly snat: boolean;
  /** Whether it is replaced for all mapped traffic. */
  readonly masqAll: boolean;
  /** The bit of the packet mark that the iptables backend uses, 0 to 31. */
  readonly markMasqBit: number;
  /** The iptables chain that marks what is to be masqueraded; "" for our own. */
  readonly externalSetMarkChain: string;
  /** Further matches for IPv4, in the backend's language, one word each (iptables: one argument each). */
  readonly conditions4: readonly string[];
  readonly conditions6: readonly string[];
  /** A port that somebody else holds is taken over instead of being refused. */
  readonly lastWins: boolean;
  /** In the order of the request; no two are for the same protocol, address and port. */
  readonly mappings: readonly Mapping[];
}

/* Kubernetes uses bits 14 and 15, Calico 20 to 31. */
const DEFAULT_MARK_BIT = 13;
const MAX_PORT = 65535;
const PROTOCOLS: readonly Protocol[] = ["tcp", "udp", "sctp"];

/**
 * Reads the configuration of a call.
 * @throws CniError 7 with the field's path
 */
export function readPortmapConfig(call: Call): PortmapConfig {
  const fields = call.config.fields;
  const markMasqBit = readMarkBit(fields);
  const externalSetMarkChain = readChain(fields);
  const given4 = readConditions(fields, "conditionsV4");
  const given6 = readConditions(fields, "conditionsV6");
  const backend = readBackend(fields, externalSetMarkChain, given4, given6);
  return {
    backend,
    snat: fields.boolean("snat", true),
    masqAll: fields.boolean("masqAll", false),
    markMasqBit,
    externalSetMarkChain,
    conditions4: backend === "nftables" ? wordsOf(given4) : given4,
    conditions6: backend === "nftables" ? wordsOf(given6) : given6,
    lastWins: readLastWins(fields),
    mappings: readMappings(call.config),
  };
}

/** The mappings that can be made out, for DEL, which a configuration that is wrong by now must not stop. Never throws. */
export function readMappingsForRemoval(call: Call): Mapping[] {
  const mappings: Mapping[] = [];
  try {
    let index = 0;
    for (const entry of call.config.runtimeConfig().objects("portMappings")) {
      const mapping = lenientMapping(entry, index);
      if (mapping !== null) mappings.push(mapping);
      index += 1;
    }
  } catch (error) {
    if (!(error instanceof CniError)) throw error;
  }
  return mappings;
}

function lenientMapping(entry: Fields, index: number): Mapping | null {
  try {
    return readMapping(entry, index);
  } catch (error) {
    if (error instanceof CniError) return null;
    throw error;
  }
}

function readMarkBit(fields: Fields): number {
  const bit = fields.integer("markMasqBit", Number.MIN_SAFE_INTEGER, Number.MAX_SAFE_INTEGER);
  if (bit === null) return DEFAULT_MARK_BIT;
  if (fields.string("externalSetMarkChain", "") !== "") {
    throw fields.invalid("markMasqBit", "Cannot specify externalSetMarkChain and markMasqBit");
  }
  if (bit < 0 || bit > 31) {
    throw fields.invalid("markMasqBit", `MasqMarkBit must be between 0 and 31, found ${bit}`);
  }
  return bit;
}

function readChain(fields: Fields): string {
  const chain = fields.string("externalSetMarkChain", "");
  if (chain !== "" && !isChainName(chain)) {
    throw fields.invalid("externalSetMarkChain", `"${clip(chain)}" cannot be the name of an iptables chain`);
  }
  return chain;
}

function readConditions(fields: Fields, key: string): string[] {
  const tokens = fields.strings(key);
  for (let i = 0; i < tokens.length; i += 1) {
    const token = textAt(tokens, i);
    if (wordsOf([token]).length === 0) throw fields.invalid(`${key}[${i}]`, "is empty");
    for (let at = 0; at < token.length; at += 1) {
      const unit = token.charCodeAt(at);
      if (unit < 0x20 || unit === 0x7f) throw fields.invalid(`${key}[${i}]`, "holds a control character");
    }
  }
  return tokens;
}

/** Tokens split at spaces: nft's language has no word with one inside, and "ip saddr 10.0.0.1" in one token is common. */
function wordsOf(tokens: readonly string[]): string[] {
  const words: string[] = [];
  for (const token of tokens) {
    for (const word of token.split(" ")) {
      if (word !== "") words.push(word);
    }
  }
  return words;
}

/** The backend asked for; without one, that of the first option that only one of them understands. */
function readBackend(
  fields: Fields,
  chain: string,
  conditions4: readonly string[],
  conditions6: readonly string[],
): WantedBackend {
  const given = fields.string("backend", "");
  if (given !== "" && given !== "nftables" && given !== "iptables") {
    throw fields.invalid("backend", `unrecognized backend "${clip(given)}": expected "nftables" or "iptables"`);
  }
  const iptables: string[] = [];
  const nftables: string[] = [];
  if (chain !== "") iptables.push("externalSetMarkChain");
  if (conditions4.length > 0) (isIptables(conditions4) ? iptables : nftables).push("conditionsV4");
  if (conditions6.length > 0) (isIptables(conditions6) ? iptables : nftables).push("conditionsV6");
  let backend: WantedBackend = "";
  if (given === "iptables" || (given === "" && iptables.length > 0)) backend = "iptables";
  else if (given === "nftables" || nftables.length > 0) backend = "nftables";
  const foreign = backend === "iptables" ? nftables : iptables;
  if (foreign.length === 0) return backend;
  const other = backend === "iptables" ? "nftables" : "iptables";
  const why = given === "" ? ` (${iptables.join(", ")} asks for it)` : "";
  throw fields.invalid(
    textAt(foreign, 0),
    `${backend} backend was requested but configuration contains ${other}-specific options [${foreign.join(" ")}]${why}`,
  );
}

/** Matches of iptables begin with "-d", "--sport", "-m" or "!"; none of nft's does. */
function isIptables(conditions: readonly string[]): boolean {
  const first = textAt(conditions, 0);
  return first.startsWith("-") || first.startsWith("!");
}

function readLastWins(fields: Fields): boolean {
  const given = fields.string("conflicts", "");
  if (given === "last-wins") return true;
  if (given === "" || given === "refuse") return false;
  throw fields.invalid("conflicts", `unrecognized "${clip(given)}": expected "refuse" or "last-wins"`);
}

function readMappings(config: NetworkConfig): Mapping[] {
  const mappings: Mapping[] = [];
  /* Protocol, port and address, for "any" once a family, and which of `mappings` has it. */
  const taken = new Map<string, number>();
  let index = -1;
  for (const entry of config.runtimeConfig().objects("portMappings")) {
    index += 1;
    const mapping = readMapping(entry, index);
    const is4 = mapping.family !== 6 && isNew(mapping, 4, taken, mappings, entry);
    const is6 = mapping.family !== 4 && isNew(mapping, 6, taken, mappings, entry);
    if (!is4 && !is6) continue;
    mappings.push({
      index,
      protocol: mapping.protocol,
      hostPort: mapping.hostPort,
      containerPort: mapping.containerPort,
      hostIp: mapping.hostIp,
      family: is4 && is6 ? 0 : is4 ? 4 : 6,
    });
  }
  return mappings;
}

/** Whether the mapping's part of one family is not in the list yet. @throws CniError 7 if it is, with another container port */
function isNew(
  mapping: Mapping,
  family: 4 | 6,
  taken: Map<string, number>,
  mappings: Mapping[],
  entry: Fields,
): boolean {
  const address = mapping.hostIp === null ? `any ${family}` : formatAddress(mapping.hostIp);
  const key = `${mapping.protocol} ${mapping.hostPort} ${address}`;
  const at = taken.get(key) ?? -1;
  if (at < 0) {
    taken.set(key, mappings.length);
    return true;
  }
  const other = itemAt(mappings, at);
  if (other === null || other.containerPort === mapping.containerPort) return false;
  throw entry.invalid(
    "hostPort",
    `${describeMapping(mapping)} is also asked for by portMappings[${other.index}] as ${describeMapping(other)}`,
  );
}

/** A mapping in one line: "tcp 10.0.0.1:8080 to container port 80". */
export function describeMapping(mapping: Mapping): string {
  return `${describeHostPort(mapping)} to container port ${mapping.containerPort}`;
}

/** The host's side of a mapping: "tcp 10.0.0.1:8080", "udp [::]:53", "tcp *:80" for all addresses of both families. */
function describeHostPort(mapping: Mapping): string {
  let address = mapping.family === 0 ? "*" : mapping.family === 4 ? "0.0.0.0" : "[::]";
  if (mapping.hostIp !== null) {
    address = mapping.hostIp.family === 4 ? formatAddress(mapping.hostIp) : `[${formatAddress(mapping.hostIp)}]`;
  }
  return `${mapping.protocol} ${address}:${mapping.hostPort}`;
}

function readMapping(entry: Fields, index: number): Mapping {
  const hostPort = readPort(entry, "hostPort", "host");
  const containerPort = readPort(entry, "containerPort", "container");
  const protocol = readProtocol(entry);
  const given = readHostIp(entry);
  const isAny = given === null || isZero(given);
  return { index, protocol, hostPort, containerPort, hostIp: isAny ? null : given, family: given?.family ?? 0 };
}

function readPort(entry: Fields, key: string, side: string): number {
  const port = entry.integer(key, Number.MIN_SAFE_INTEGER, Number.MAX_SAFE_INTEGER) ?? 0;
  if (port >= 1 && port <= MAX_PORT) return port;
  throw entry.invalid(key, `Invalid ${side} port number: ${port} (must be between 1 and ${MAX_PORT})`);
}

/** Runtimes write the protocol small, Kubernetes large, and leave it out where they mean TCP. */
function readProtocol(entry: Fields): Protocol {
  const given = entry.string("protocol", "");
  if (given === "") return "tcp";
  const lower = asciiLower(given);
  for (const protocol of PROTOCOLS) {
    if (protocol === lower) return protocol;
  }
  throw entry.invalid("protocol", `unknown protocol "${clip(given)}": expected tcp, udp or sctp`);
}

/** The address given, which may be 0.0.0.0 or ::; null if none is. */
function readHostIp(entry: Fields): Address | null {
  const given = entry.string("hostIP", "");
  if (given === "") return null;
  const parsed = parseAddress(given);
  if (parsed === null) throw entry.invalid("hostIP", `"${clip(given)}" is not an IP address`);
  const address = unmapped(parsed);
  const first = address.bytes[0] ?? 0;
  /* 224.0.0.0 to 255.255.255.255, ff00::/8: addresses that no host has. */
  if (first >= (address.family === 4 ? 224 : 255)) {
    throw entry.invalid("hostIP", `${formatAddress(address)} is a multicast, reserved or broadcast address`);
  }
  return address;
}

/** ::ffff:10.0.0.1 is IPv4 on every wire. */
function unmapped(address: Address): Address {
  if (address.family === 4) return address;
  for (let i = 0; i < 12; i += 1) {
    if (address.bytes[i] !== (i < 10 ? 0 : 255)) return address;
  }
  return addressOf(address.bytes.subarray(12));
}

function isZero(address: Address): boolean {
  for (let i = 0; i < address.bytes.length; i += 1) {
    if (address.bytes[i] !== 0) return false;
  }
  return true;
}
