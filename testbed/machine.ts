/** What a test run must not leave on the machine, and what else changes there meanwhile, as text to compare. */
import { existsSync } from "node:fs";
import { readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { execa } from "execa";

/** Something that the machine has, and whether it is Podwire's or a test's by what is written on it. */
export interface Item {
  readonly text: string;
  readonly ours: boolean;
}

/** What `ip`, `bridge` and `nft` tell of the machine's own network namespace, and names of files. */
export interface MachineState {
  readonly links: readonly Item[];
  readonly namespaces: readonly Item[];
  /** Null where nft is not installed. */
  readonly rules: readonly Item[] | null;
  /** An overlay's routes, neighbours and forwarding entries. */
  readonly entries: readonly Item[];
  /** What plugins keep on tmpfs: for the machine, and for namespaces that are gone. */
  readonly files: readonly Item[];
}

/** Lines for the reader: what a run must not have changed, and what somebody else has. */
export interface Differences {
  readonly ours: readonly string[];
  readonly others: readonly string[];
}

const RUNTIME_DIRECTORY = "/run/podwire";
/** The number by which the overlay marks its routes. */
const OVERLAY_PROTOCOL = "112";
/** Names that plugins derive for links, and those that suites give to bridges and overlays. */
const OUR_LINKS = /^(veth[0-9a-f]{11}|ifb[ei][0-9a-f]{11}|(pwt|cni|overlay)\d+)$/;
/** How lib/state/names.ts begins the aliases of links. */
const OUR_ALIAS = "podwire ";
/** Tables of ours, and chains of the iptables backend, which are named as the reference's. */
const OUR_RULES = /^\w+ (podwire(_\w+|-firewall)?(?![\w-])|.*\bCNI-)/;

/** Takes the state. Namespaces of test runs that are under way are left out. */
export async function machineState(): Promise<MachineState> {
  const namespaces = (await lines("ip", ["netns", "list"])).map((line) => line.split(" ")[0] ?? "");
  return {
    links: await links(),
    namespaces: namespaces
      .filter((name) => !ownerIsAlive(name))
      .sort()
      .map((text) => ({ text, ours: ownerOf(text) !== null })),
    rules: await lines("nft", ["--stateless", "list", "ruleset"]).then(rulesOf, () => null),
    entries: await entries(),
    files: (await filesLeft()).map((text) => ({ text, ours: true })),
  };
}

interface Link {
  readonly ifname: string;
  readonly address?: string;
  readonly ifalias?: string;
  readonly flags: readonly string[];
}

async function links(): Promise<Item[]> {
  const { stdout } = await execa("ip", ["-j", "link", "show"]);
  return (JSON.parse(stdout) as Link[]).map(({ ifname, address = "", ifalias = "", flags }) => ({
    text: [ifname, address, flags.join(","), ifalias].join(" ").trim(),
    ours: OUR_LINKS.test(ifname) || ifalias.startsWith(OUR_ALIAS),
  }));
}

/** Each line of a ruleset after the table and the chain or set that it stands in: "ip nat CNI-DN-1: tcp dport 80 ...". */
export function rulesOf(ruleset: readonly string[]): Item[] {
  const items: Item[] = [];
  const within: string[] = [];
  for (const line of ruleset.map((one) => one.trim())) {
    if (line === "}") within.pop();
    if (line.endsWith("{")) within.push(line.replace(/^(table|chain|set|map|counter) /, "").replace(/ \{$/, ""));
    if (line === "}") continue;
    const text = line.endsWith("{") ? within.join(" ") : `${within.join(" ")}: ${line}`;
    items.push({ text, ours: OUR_RULES.test(text) });
  }
  return items;
}

async function entries(): Promise<Item[]> {
  const routes = ["route", "show", "table", "all", "proto", OVERLAY_PROTOCOL];
  const routesFound = await Promise.all([lines("ip", routes), lines("ip", ["-6", ...routes])]);
  const onLinks = await Promise.all([
    lines("ip", ["neigh", "show", "nud", "permanent"]),
    lines("bridge", ["fdb", "show"]),
  ]);
  const items = [
    ...routesFound.flat().map((text) => ({ text, ours: true })),
    ...onLinks.flat().map((text) => ({ text, ours: OUR_LINKS.test(/\bdev (\S+)/.exec(text)?.[1] ?? "") })),
  ];
  return items.sort((a, b) => (a.text < b.text ? -1 : 1));
}

/** Those for namespaces that are there are somebody's who is at work. */
async function filesLeft(): Promise<string[]> {
  const own = (await stat("/proc/self/ns/net")).ino;
  const names = await readdir("/run/netns").catch(() => [] as string[]);
  const status = await Promise.all(names.map((name) => stat(join("/run/netns", name)).catch(() => null)));
  const alive = new Set(status.map((item) => item?.ino).filter((number) => number !== own));
  const files = await readdir(RUNTIME_DIRECTORY).catch(() => [] as string[]);
  return files.filter((name) => !alive.has(Number(name.slice(name.indexOf("-") + 1)))).sort();
}

/** What is in one state and not in the other, a line each. */
export function stateDifferences(before: MachineState, after: MachineState): Differences {
  const differences = { ours: [] as string[], others: [] as string[] };
  for (const part of ["links", "namespaces", "rules", "entries", "files"] as const) {
    const note = (what: string, { text, ours }: Item): void => {
      differences[ours ? "ours" : "others"].push(`${part}: ${what}: ${text}`);
    };
    const earlier = before[part] ?? [];
    const later = after[part] ?? [];
    for (const item of lacking(later, earlier)) note("new", item);
    /* A namespace gets a dead one's number, and with it the files that a killed run left under that. */
    if (part === "files") continue;
    /* Another run may have cleaned up what a third one left behind. */
    for (const item of lacking(earlier, later)) if (ownerOf(item.text) === null) note("gone", item);
  }
  return differences;
}

/** Those of some items that others do not have. */
function lacking(items: readonly Item[], others: readonly Item[]): Item[] {
  const texts = new Set(others.map(({ text }) => text));
  return items.filter(({ text }) => !texts.has(text));
}

/** The process that made a namespace or directory for a test, from its name; null for a name that is not of a test. */
export function ownerOf(name: string): number | null {
  const match = /^pwt-(\d+)-/.exec(name);
  return match === null ? null : Number(match[1]);
}

export function ownerIsAlive(name: string): boolean {
  const owner = ownerOf(name);
  return owner !== null && existsSync(`/proc/${owner}`);
}

async function lines(command: string, args: readonly string[]): Promise<string[]> {
  const { stdout } = await execa(command, args, { env: { LC_ALL: "C" } });
  return stdout.split("\n").filter((line) => line.trim() !== "");
}
