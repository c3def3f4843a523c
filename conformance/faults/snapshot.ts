/** Everything that attachments have on a node and in a pod's namespace, as lines that can be compared. */
import { execa } from "execa";
import type { JsonObject, Netns } from "../harness.ts";
import { type Node, recordsOf } from "../plugins/portmap-lab.ts";

/** Between the answers of one program and the next. */
const SEPARATOR = "=====";

/** Links, addresses, routes and queueing disciplines of a namespace. */
const NETWORK = [
  "ip -j -d link show",
  "ip -j address show",
  "ip -j -4 route show table all",
  "ip -j -6 route show table all",
  "tc -j qdisc show",
  /* A clsact is anybody's to use: what counts is the filters in it. */
  `tc qdisc show | sed -n 's/^qdisc clsact .* dev \\([^ ]*\\) .*/\\1/p' | while read -r link; do
     for hook in ingress egress; do tc filter show dev "$link" "$hook" | sed "s/^/$link $hook /"; done
   done`,
].join(`; echo ${SEPARATOR}; `);

const NODE = `; echo ${SEPARATOR}; nft -j -s list ruleset; echo ${SEPARATOR}; find "$RECORDS" "$DATA" 2>/dev/null`;

/** @param pods namespaces, by what the lines are to call them */
export async function snapshot(node: Node, pods: Readonly<Record<string, Netns>>): Promise<string[]> {
  const records = (await recordsOf(node.host)) ?? "/nonexistent";
  const data = node.sandbox.dataDir;
  const [host, ...inside] = await Promise.all([
    answers(node.host, NETWORK + NODE, { RECORDS: records, DATA: data }),
    ...Object.values(pods).map((netns) => answers(netns, NETWORK, {})),
  ]);
  const [rules = "{}", files = ""] = (host ?? []).slice(6);
  const lines = [
    ...networkLines("node", host ?? []),
    ...ruleLines(JSON.parse(rules) as JsonObject),
    ...files.split("\n").map((path) => path.trim().replace(records, "records").replace(data, "data")),
  ];
  const names = Object.keys(pods);
  inside.forEach((texts, i) => {
    lines.push(...networkLines(names[i] ?? "", texts));
  });
  /* The records' directory is there as long as one record is. */
  return lines.filter((line) => line !== "" && line !== "records").sort();
}

async function answers(netns: Netns, script: string, env: Record<string, string>): Promise<string[]> {
  const { stdout } = await execa("nsenter", [`--net=${netns.path}`, "--", "sh", "-c", script], { env, reject: false });
  return String(stdout).split(SEPARATOR);
}

function networkLines(
  where: string,
  [links, addresses, routes4, routes6, queues, filters]: readonly string[],
): string[] {
  const lines: string[] = [];
  for (const link of list(links)) {
    const kind = (link.linkinfo as JsonObject | undefined)?.info_kind ?? "";
    lines.push(`${where}: link ${link.ifname} ${kind} of ${link.master ?? "none"} alias ${link.ifalias ?? "none"}`);
  }
  for (const link of list(addresses)) {
    for (const info of (link.addr_info ?? []) as JsonObject[]) {
      if (info.scope !== "link") lines.push(`${where}: address ${info.local}/${info.prefixlen} on ${link.ifname}`);
    }
  }
  for (const route of [...list(routes4), ...list(routes6)]) {
    /* The kernel makes its own as it finds addresses to be nobody else's. */
    const isKernels = route.type !== "unicast" || /^(fe80|ff00)/.test(String(route.dst));
    if (!isKernels)
      lines.push(`${where}: route ${route.type} ${route.dst} via ${route.gateway ?? "-"} dev ${route.dev}`);
  }
  for (const { kind, dev } of list(queues)) if (kind !== "clsact") lines.push(`${where}: qdisc ${kind} on ${dev}`);
  for (const filter of (filters ?? "").split("\n"))
    if (filter.trim() !== "") lines.push(`${where}: filter ${filter.replace(/index \d+/, "index N")}`);
  return lines;
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
  const isObject = typeof value === "object" && value !== null;
  /* "elem" is a set's elements, and also how an element with a comment is told. */
  const dropped = isObject && ("set" in value || "map" in value) ? VOLATILE : VOLATILE.slice(0, 3);
  return JSON.stringify(value, (key, inner) => (dropped.includes(key) ? undefined : inner));
}

/** What one snapshot has and another has not, with a sign before it. */
export function difference(wanted: readonly string[], found: readonly string[]): string[] {
  const less = wanted.filter((line) => !found.includes(line)).map((line) => `- ${line}`);
  const more = found.filter((line) => !wanted.includes(line)).map((line) => `+ ${line}`);
  return [...less, ...more];
}
