/** For the suites of host-local: a network with its own data directory, and calls of the verbs on it. */
import { mkdir, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { execa } from "execa";
import { expect } from "vitest";
import {
  binDirectory,
  type CallResult,
  call,
  expectSuccess,
  type JsonObject,
  referenceDirectory,
  temporaryDirectory,
} from "../../testbed/harness.ts";
import { pointsOf } from "../faults/strace.ts";

export const REFERENCE = join(referenceDirectory, "host-local");

/** Differences from the default call. */
export interface Variation {
  readonly ifname?: string;
  readonly netns?: string;
  readonly args?: string;
  readonly plugin?: string;
  readonly cniVersion?: string;
  /** Replaces the network's `ipam` object (without type and dataDir, which are added). */
  readonly ipam?: JsonObject;
  /** Further members of the configuration. */
  readonly more?: JsonObject;
  readonly config?: unknown;
  readonly timeoutMs?: number;
}

/** The fields of a record. */
export interface RecordFile {
  readonly container: string;
  readonly ifname: string;
  /** Device, inode and path. */
  readonly netns: string;
  readonly boot: string;
  readonly "since-boot-ms": string;
  /** Separated by spaces. */
  readonly addresses: string;
}

const HEADER = "podwire host-local attachment 1";

function readRecord(text: string): RecordFile {
  const [header, ...lines] = text.trimEnd().split("\n");
  expect(header).toBe(HEADER);
  const pairs = lines.map((line) => [line.slice(0, line.indexOf(" ")), line.slice(line.indexOf(" ") + 1)]);
  return Object.fromEntries(pairs) as RecordFile;
}

function writeRecord(record: RecordFile): string {
  const lines = Object.entries(record).map(([key, value]) => `${key} ${value}\n`);
  return `${HEADER}\n${lines.join("")}`;
}

export class Network {
  readonly directory: string;
  readonly dataDir: string;
  readonly name: string;
  ipam: JsonObject;

  constructor(directory: string, ipam: JsonObject) {
    this.directory = directory;
    this.dataDir = join(directory, "networks");
    this.name = "net";
    this.ipam = ipam;
  }

  /** The directory of the leases, which the reference plugin shares. */
  get leases(): string {
    return join(this.dataDir, this.name);
  }

  /** The directory of Podwire's records. */
  get own(): string {
    return join(this.dataDir, ".podwire", this.name);
  }

  config(variation: Variation = {}): unknown {
    return {
      cniVersion: variation.cniVersion ?? (variation.plugin === REFERENCE ? "1.0.0" : "1.1.0"),
      name: this.name,
      type: "bridge",
      ipam: { type: "host-local", dataDir: this.dataDir, ...(variation.ipam ?? this.ipam) },
      ...variation.more,
    };
  }

  async call(command: string, id: string, variation: Variation = {}): Promise<CallResult> {
    return call({
      plugin: variation.plugin ?? "host-local",
      command,
      containerId: id,
      netns: variation.netns ?? "/run/netns/none",
      ifname: variation.ifname ?? "eth0",
      ...(variation.args === undefined ? {} : { args: variation.args }),
      config: variation.config ?? this.config(variation),
      ...(variation.timeoutMs === undefined ? {} : { timeoutMs: variation.timeoutMs }),
    });
  }

  /** ADD that must succeed: the addresses, without prefix length. */
  async add(id: string, variation: Variation = {}): Promise<string[]> {
    const result = expectSuccess(await this.call("ADD", id, variation));
    return addressesOf(result);
  }

  /** ADD of one address. */
  async addOne(id: string, variation: Variation = {}): Promise<string> {
    const addresses = await this.add(id, variation);
    expect(addresses).toHaveLength(1);
    return addresses[0] ?? "";
  }

  async del(id: string, variation: Variation = {}): Promise<void> {
    const result = await this.call("DEL", id, variation);
    expectSuccess(result);
    expect(result.stdout).toBe("");
  }

  /** The leases on disk, address to content. */
  async leaseFiles(): Promise<Record<string, string>> {
    const files: Record<string, string> = {};
    for (const name of await readdir(this.leases).catch(() => [] as string[])) {
      if (name === "lock" || name.startsWith("last_reserved_ip.") || name.startsWith(".")) continue;
      files[name] = await readFile(join(this.leases, name), "utf8").catch(() => "(not a file)");
    }
    return files;
  }

  async addresses(): Promise<string[]> {
    return Object.keys(await this.leaseFiles()).sort();
  }

  /** The records of attachments, by file name. */
  async records(): Promise<Record<string, RecordFile>> {
    const records: Record<string, RecordFile> = {};
    for (const name of await readdir(this.own).catch(() => [] as string[])) {
      if (name.length === 32) records[name] = readRecord(await readFile(join(this.own, name), "utf8"));
    }
    return records;
  }

  /** Changes fields in the records of a container. */
  async changeRecord(id: string, change: Partial<RecordFile>): Promise<void> {
    for (const [name, record] of Object.entries(await this.records())) {
      if (record.container !== id) continue;
      await writeFile(join(this.own, name), writeRecord({ ...record, ...change }));
    }
  }

  /** Writes a lease as the reference does. */
  async writeLease(address: string, content: string): Promise<void> {
    await mkdir(this.leases, { recursive: true });
    await writeFile(join(this.leases, address), content);
  }
}

export function addressesOf(result: JsonObject): string[] {
  return (result.ips as { address: string }[]).map((ip) => ip.address.split("/")[0] ?? "");
}

/** Each lease must have one owner and a record, each record a lease, and there must be no temporary file. */
export async function expectConsistent(network: Network): Promise<void> {
  const leases = await network.leaseFiles();
  const recorded: Record<string, string> = {};
  for (const record of Object.values(await network.records())) {
    for (const address of record.addresses.split(" ")) recorded[address] = `${record.container}\r\n${record.ifname}`;
  }
  expect(recorded).toEqual(leases);
  expect((await readdir(network.leases)).filter((name) => name.startsWith("."))).toEqual([]);
}

/** Runs a test on a network of its own. */
export async function withNetwork(ipam: JsonObject, test: (network: Network) => Promise<void>): Promise<void> {
  const directory = await temporaryDirectory();
  try {
    await test(new Network(directory, ipam));
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

/** A network with one range, 10.9.0.2 to 10.9.0.<last>. */
export function smallRange(last: number): JsonObject {
  return { ranges: [[{ subnet: "10.9.0.0/24", rangeStart: "10.9.0.2", rangeEnd: `10.9.0.${last}` }]] };
}

const ENVIRONMENT = { CNI_NETNS: "/run/netns/none", CNI_IFNAME: "eth0", CNI_PATH: "/nonexistent" };

/** Runs the plugin under strace: its system calls in order, by name, and the exit status. */
export async function trace(
  network: Network,
  command: string,
  id: string,
  inject: readonly string[] = [],
): Promise<{ readonly lines: readonly string[]; readonly killed: boolean }> {
  const output = join(network.directory, "trace");
  const result = await execa("strace", ["-o", output, ...inject, join(binDirectory, "host-local")], {
    env: { ...ENVIRONMENT, CNI_COMMAND: command, CNI_CONTAINERID: id },
    input: JSON.stringify(network.config()),
    reject: false,
  });
  const lines = (await readFile(output, "utf8")).split("\n").filter((line) => line.includes("("));
  return { lines, killed: result.signal === "SIGKILL" || result.exitCode === 137 };
}

/** The options that end the plugin at each of the calls of a trace, one after another. */
export function killPoints(lines: readonly string[]): string[][] {
  return pointsOf(lines).map((point) => ["-e", `inject=${point.name}:signal=KILL:when=${point.n}`]);
}
