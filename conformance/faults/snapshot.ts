/** Everything that attachments and an overlay have on a node and in pods' namespaces, as lines that can be compared. */
import { join } from "node:path";
import type { JsonObject, Netns } from "../../testbed/harness.ts";
import { execute } from "../../testbed/starter.ts";

/** Between the answers of one program and the next, and between namespaces. */
const SEPARATOR = "=====";
const NEXT_NAMESPACE = "#####";
const PATH = "/usr/sbin:/usr/bin:/sbin:/bin";
const LIMIT_MS = 60_000;

/** Links with addresses, routes and neighbours of a namespace, a line of JSON each. */
const NETWORK = 'ip -j -d -batch "$LOOK"';

/** What else a node has; its queueing disciplines first. */
const NODE = `
  ${NETWORK}; echo ${SEPARATOR}
  queues=$(tc -j qdisc show)
  echo "$queues"; echo ${SEPARATOR}
  case $queues in *clsact*)
    tc qdisc show | sed -n 's/^qdisc clsact .* dev \\([^ ]*\\) .*/\\1/p' | while read -r link; do
      for hook in ingress egress; do tc filter show dev "$link" "$hook" | sed "s/^/$link $hook /"; done
    done;;
  esac; echo ${SEPARATOR}
  nft -j -s list ruleset; echo ${SEPARATOR}
  find $FILES 2> /dev/null; echo ${SEPARATOR}
  cd /proc/sys/net
  for name in ipv4/ip_forward ipv6/conf/all/forwarding ipv4/conf/cni0/route_localnet; do
    if [ -e $name ]; then read -r value < $name; echo $name:$value; fi
  done; echo ${SEPARATOR}`;

/** What a pod has of what is tuned. */
const TUNED = `
  cd /proc/sys/net
  for name in ipv4/conf/eth0/arp_announce ipv6/conf/eth0/ndisc_notify; do
    if [ -e $name ]; then read -r value < $name; echo $name:$value; fi
  done`;

/** What an overlay has more than others. */
const OVERLAY = `bridge -j fdb show; echo ${SEPARATOR}`;

/** What is to be looked at. */
export interface Scene {
  readonly node: Netns;
  /** Pods' namespaces, by what the lines are to call them. */
  readonly pods: Readonly<Record<string, Netns>>;
  /** Files and directories, by what the lines are to call them. */
  readonly files: Readonly<Record<string, string>>;
  readonly overlay: boolean;
  /** Whether what is tuned in the pods counts. */
  readonly tuned?: boolean;
}

/** Takes one. A shell starts all the programs: they are most of what a fault costs. */
export async function snapshot({ node, pods, files, overlay, tuned = false }: Scene): Promise<string[]> {
  const names = Object.keys(pods);
  const inside = Object.values(pods).map(({ path }) => {
    const looking = `echo "${NEXT_NAMESPACE}"; nsenter --net=${path} ${NETWORK}`;
    return tuned ? `${looking}; echo ${SEPARATOR}; nsenter --net=${path} sh -c '${TUNED}'` : looking;
  });
  const script = [NODE, overlay ? OVERLAY : "", ...inside].join("\n");
  const env = { LOOK: join(import.meta.dirname, "look.batch"), FILES: Object.values(files).join(" ") };
  const args = [`--net=${node.path}`, "--", "sh", "-c", script];
  const { stdout } = await execute({
    file: "/usr/bin/nsenter",
    args,
    env: { ...env, PATH },
    stdin: "",
    timeoutMs: LIMIT_MS,
  });
  const [host = "", ...others] = stdout.split(NEXT_NAMESPACE);
  const [network = "", queues = "", filters = "", ...rest] = host.split(SEPARATOR);
  const [rules = "{}", found = "", settings = "", entries = ""] = rest;
  const lines = [
    ...networkLines("node", network),
    ...queueLines(list(queues), filters),
    ...ruleLines(JSON.parse(rules) as JsonObject),
    ...fileLines(found, files),
    ...settings.split("\n").map((line) => (line.trim() === "" ? "" : `node: setting ${line.trim()}`)),
    ...(overlay ? overlayLines(jsonLines(network)[2] ?? [], list(entries)) : []),
  ];
  others.forEach((text, i) => {
    const [links = "", values = ""] = text.split(SEPARATOR);
    lines.push(...networkLines(names[i] ?? "", links));
    if (tuned) lines.push(...tunedLines(names[i] ?? "", links, values));
  });
  return lines.filter((line) => line !== "").sort();
}

/** Gives lines that are there several times a number, so that nothing is in order twice. */
export function numbered(lines: readonly string[]): string[] {
  const seen = new Map<string, number>();
  return lines.map((line) => {
    const count = (seen.get(line) ?? 0) + 1;
    seen.set(line, count);
    return count === 1 ? line : `${line} (${count})`;
  });
}

function fileLines(found: string, files: Readonly<Record<string, string>>): string[] {
  const named = Object.entries(files);
  return found.split("\n").map((line) => {
    const path = line.trim();
    const [name, directory] = named.find(([, prefix]) => path.startsWith(prefix)) ?? ["", ""];
    /* A directory is there as long as something is in it. */
    return path === directory && name.endsWith("/") ? "" : path.replace(directory, name);
  });
}

function networkLines(where: string, text: string): string[] {
  const [addresses = [], routes = []] = jsonLines(text);
  const lines: string[] = [];
  for (const link of addresses) {
    const kind = (link.linkinfo as JsonObject | undefined)?.info_kind ?? "";
    lines.push(`${where}: link ${link.ifname} ${kind} of ${link.master ?? "none"}`);
    lines.push(`${where}: mtu of ${link.ifname} ${link.mtu}`);
    if (link.ifalias !== undefined) lines.push(`${where}: alias of ${link.ifname} ${link.ifalias}`);
    for (const info of (link.addr_info ?? []) as JsonObject[]) {
      if (info.scope !== "link") lines.push(`${where}: address ${info.local}/${info.prefixlen} on ${link.ifname}`);
    }
  }
  for (const route of routes) {
    /* The kernel makes its own as it finds addresses to be nobody else's. */
    const isKernels = route.type !== "unicast" || /^(fe80|ff00)/.test(String(route.dst));
    if (!isKernels) lines.push(`${where}: route ${route.dst} via ${route.gateway ?? "-"} dev ${route.dev}`);
  }
  return lines;
}

function tunedLines(where: string, text: string, values: string): string[] {
  const [links = []] = jsonLines(text);
  const lines = values.split("\n").map((line) => (line.trim() === "" ? "" : `${where}: setting ${line.trim()}`));
  for (const link of links.filter(({ ifname }) => ifname === "eth0")) {
    const flags = (link.flags as string[]).filter((flag) => ["PROMISC", "ALLMULTI"].includes(flag));
    lines.push(`${where}: eth0 has ${link.address}, a queue of ${link.txqlen ?? 0}, ${flags.join(" ")}`);
  }
  return lines;
}

/** A clsact is anybody's to use: what counts is the filters in it. */
function queueLines(queues: readonly JsonObject[], filters: string): string[] {
  return [
    ...queues.filter(({ kind }) => kind !== "clsact").map(({ kind, dev }) => `node: qdisc ${kind} on ${dev}`),
    ...filters
      .split("\n")
      .filter((filter) => filter.trim() !== "")
      .map((filter) => `node: filter ${filter.replace(/index \d+/, "index N")}`),
  ];
}

function overlayLines(neighbours: readonly JsonObject[], entries: readonly JsonObject[]): string[] {
  return [
    ...neighbours.map(({ dst, dev, lladdr }) => `node: neighbour ${dst} dev ${dev} is ${lladdr}`),
    ...entries
      .filter(({ ifname }) => String(ifname).startsWith("overlay"))
      .map(({ mac, ifname, dst }) => `node: forwarding entry ${mac} dev ${ifname} to ${dst}`),
  ];
}

/** What ip says to look.batch: links, routes, neighbours. */
function jsonLines(text: string): JsonObject[][] {
  return text
    .split("\n")
    .filter((line) => line.trim() !== "")
    .map(list);
}

function list(text: string | undefined): JsonObject[] {
  return text === undefined || text.trim() === "" ? [] : (JSON.parse(text) as JsonObject[]);
}

/** Tables, chains, rules and elements, a line each; without numbers that the kernel gives and counts. */
function ruleLines(ruleset: JsonObject): string[] {
  const lines: string[] = [];
  for (const entry of (ruleset.nftables ?? []) as JsonObject[]) {
    if ("metainfo" in entry) continue;
    const set = (entry.set ?? entry.map) as JsonObject | undefined;
    for (const element of (set?.elem ?? []) as unknown[]) {
      lines.push(`element of ${set?.table} ${set?.name}: ${plain(element)}`);
    }
    lines.push(plain(entry));
  }
  return lines;
}

const VOLATILE: readonly string[] = ["handle", "packets", "bytes", "elem"];

function plain(value: unknown): string {
  /* A map's element is an array, and every array has a member "map". */
  const isObject = typeof value === "object" && value !== null && !Array.isArray(value);
  /* "elem" is a set's elements, and also how an element with a comment is told. */
  const dropped = isObject && ("set" in value || "map" in value) ? VOLATILE : VOLATILE.slice(0, 3);
  return JSON.stringify(value, (key, inner) => (dropped.includes(key) ? undefined : inner));
}

/** What one snapshot has and another has not, with a sign before it. */
export function difference(wanted: readonly string[], found: readonly string[]): string[] {
  return differenceBetween(wanted, wanted, found);
}

/** What a snapshot lacks of what two others have both, and has more than either of them. */
export function differenceBetween(
  one: readonly string[],
  other: readonly string[],
  found: readonly string[],
): string[] {
  const [ones, others, all] = [new Set(one), new Set(other), new Set(found)];
  const less = one.filter((line) => others.has(line) && !all.has(line) && !OPTIONAL.test(line));
  const more = found.filter((line) => !ones.has(line) && !others.has(line));
  return [...less.map((line) => `- ${line}`), ...more.map((line) => `+ ${line}`)];
}

/** The overlay's mark that all is done: it goes first and comes last. */
export const STAMP = "STAMP";
/** What nobody misses: that mark, and notes of host-local's, without which it looks for itself. */
const OPTIONAL = /STAMP|last_reserved_ip|\/index$/;
