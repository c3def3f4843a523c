/**
 * Shared by the bridge suites: a sandbox with an IPAM plugin that answers what the test tells it and keeps a file for each
 * lease, and short ways to call the bridge plugin. Every lab is a host of its own, so tests do not see each other.
 */
import { mkdir, readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { execa } from "execa";
import { expect } from "vitest";
import {
  binDirectory,
  type CallOptions,
  type CallResult,
  expectSuccess,
  type JsonObject,
  type Netns,
  Sandbox,
  until,
} from "../../testbed/harness.ts";

export const BRIDGE = "pwt0";
export const NETWORK = "pwt-net";

/** What IPAM is to answer: the `ips` and `routes` of a result. */
export interface Lease {
  readonly ips?: readonly JsonObject[];
  readonly routes?: readonly JsonObject[];
  readonly dns?: JsonObject;
}

export interface LabOptions extends Partial<CallOptions> {
  /** What the stub IPAM plugin answers to an ADD of this attachment. */
  readonly lease?: Lease | string;
}

/** IPAM as a shell script: logs each call, keeps leases as files, and runs `behaviour` first. */
const STUB = `#!/bin/sh
dir=\${0%/*}
key=$CNI_CONTAINERID.$CNI_IFNAME
cat > "$dir/stdin.$CNI_COMMAND"
echo "$CNI_COMMAND $key" >> "$dir/log"
. "$dir/behaviour"
case $CNI_COMMAND in
ADD) : > "$dir/leases/$key"; cat "$dir/answers/$key" ;;
DEL) rm -f "$dir/leases/$key" ;;
CHECK) [ -e "$dir/leases/$key" ] || { echo '{"code":131,"msg":"no lease"}'; exit 1; } ;;
esac
`;

/** A host, its pods, and an IPAM plugin "stubipam". */
export class Lab {
  readonly sandbox: Sandbox;
  readonly directory: string;
  #next = 1;

  private constructor(sandbox: Sandbox, directory: string) {
    this.sandbox = sandbox;
    this.directory = directory;
  }

  static async create(): Promise<Lab> {
    const sandbox = await Sandbox.create();
    const directory = await sandbox.script("stubipam", STUB);
    await mkdir(join(directory, "leases"));
    await mkdir(join(directory, "answers"));
    await writeFile(join(directory, "behaviour"), "");
    return new Lab(sandbox, directory);
  }

  get host(): Netns {
    return this.sandbox.host;
  }

  /** CNI_PATH: the stub, then the executables under test. */
  get path(): string {
    return `${this.directory}:${binDirectory}`;
  }

  async pod(): Promise<Netns> {
    return this.sandbox.pod();
  }

  async remove(): Promise<void> {
    await this.sandbox.remove();
  }

  /** Shell text that the stub runs before it answers: `sleep 1`, `exit 1`. */
  async behave(text: string): Promise<void> {
    await writeFile(join(this.directory, "behaviour"), `${text}\n`);
  }

  /** A configuration with the stub as IPAM; `ipam: undefined` takes it out again. */
  config(extra: JsonObject = {}): JsonObject {
    const config: JsonObject = {
      cniVersion: "1.1.0",
      name: NETWORK,
      type: "bridge",
      bridge: BRIDGE,
      ipam: { type: "stubipam" },
      ...extra,
    };
    for (const key of Object.keys(config)) if (config[key] === undefined) delete config[key];
    return config;
  }

  /** Calls the bridge plugin for a pod. */
  async run(command: string, pod: Netns, extra: JsonObject = {}, options: LabOptions = {}): Promise<CallResult> {
    const { lease, ...call } = options;
    const containerId = call.containerId ?? pod.name;
    const ifname = call.ifname ?? "eth0";
    if (command === "ADD") await this.answer(`${containerId}.${ifname}`, lease ?? this.#anyLease(), extra.cniVersion);
    return this.sandbox.call({
      plugin: "bridge",
      command,
      containerId,
      ifname,
      netns: pod.path,
      path: this.path,
      config: this.config(extra),
      ...call,
    });
  }

  async answer(key: string, lease: Lease | string, version: unknown = "1.1.0"): Promise<void> {
    const text = typeof lease === "string" ? lease : JSON.stringify({ cniVersion: version, ...lease });
    await writeFile(join(this.directory, "answers", key), text);
  }

  /** ADD that must succeed: its result. */
  async add(pod: Netns, extra: JsonObject = {}, options: LabOptions = {}): Promise<JsonObject> {
    return expectSuccess(await this.run("ADD", pod, extra, options));
  }

  /** DEL that must succeed and say nothing. */
  async del(pod: Netns, extra: JsonObject = {}, options: LabOptions = {}): Promise<void> {
    const result = await this.run("DEL", pod, extra, options);
    expect(result.stdout).toBe("");
    expectSuccess(result);
  }

  /** CHECK against the result of an ADD. */
  async check(pod: Netns, result: JsonObject, extra: JsonObject = {}, options: LabOptions = {}): Promise<CallResult> {
    return this.run("CHECK", pod, { prevResult: result, ...extra }, options);
  }

  /** The leases the stub has given and not got back: "<container>.<interface>". */
  async leases(): Promise<string[]> {
    return (await readdir(join(this.directory, "leases"))).sort();
  }

  /** The calls the stub got: "ADD <container>.<interface>". */
  async calls(): Promise<string[]> {
    const text = await readFile(join(this.directory, "log"), "utf8").catch(() => "");
    return text.split("\n").filter((line) => line !== "");
  }

  /** The configuration the stub got last with a verb. */
  async received(verb: string): Promise<JsonObject> {
    return JSON.parse(await readFile(join(this.directory, `stdin.${verb}`), "utf8")) as JsonObject;
  }

  #anyLease(): Lease {
    this.#next += 1;
    return { ips: [{ address: `10.77.0.${this.#next}/24` }] };
  }
}

/** Runs a test in a lab of its own. */
export async function withLab(test: (lab: Lab) => Promise<void>): Promise<void> {
  const lab = await Lab.create();
  try {
    await test(lab);
  } finally {
    await lab.remove();
  }
}

/** A link as `ip -j -d link show` tells; fails if it is not there. */
export async function linkOf(namespace: Netns, name: string): Promise<JsonObject> {
  const [link] = await namespace.query("link", "show", "dev", name);
  expect(link, `link ${name}`).toBeDefined();
  return link ?? {};
}

/** The host end's name in a result of 0.3.0 and later. */
export function hostEnd(result: JsonObject): string {
  return String((result.interfaces as JsonObject[])[1]?.name);
}

/** Addresses of a link as "10.0.0.1/24", link-local ones left out. */
export async function addressesOf(namespace: Netns, link: string): Promise<string[]> {
  const [found] = await namespace.query("address", "show", "dev", link);
  return ((found?.addr_info ?? []) as JsonObject[])
    .filter((info) => info.scope !== "link")
    .map((info) => `${info.local}/${info.prefixlen}`)
    .sort();
}

/** Routes of a family, all tables but "local", without the kernel's own. */
export async function routesOf(namespace: Netns, family: 4 | 6): Promise<JsonObject[]> {
  const text = await namespace.exec("ip", ["-j", "-d", `-${family}`, "route", "show", "table", "all"]);
  const routes = text.trim() === "" ? [] : (JSON.parse(text) as JsonObject[]);
  return routes.filter((route) => route.table !== "local" && route.protocol !== "kernel" && route.type === "unicast");
}

export interface Leftovers {
  readonly links: string[];
  readonly podLinks: string[];
  readonly leases: string[];
  readonly podRoutes: number;
}

/** All that an attachment could leave, but not the bridge: that stays by design. */
export async function leftovers(lab: Lab, pod: Netns | null): Promise<Leftovers> {
  return {
    links: (await lab.host.links()).filter((name) => name !== "lo" && name !== BRIDGE),
    podLinks: pod === null ? [] : (await pod.links()).filter((name) => name !== "lo"),
    leases: await lab.leases(),
    podRoutes: pod === null ? 0 : (await routesOf(pod, 4)).length + (await routesOf(pod, 6)).length,
  };
}

export const NOTHING: Leftovers = { links: [], podLinks: [], leases: [], podRoutes: 0 };

/** What tcpdump sees on a link from the moment this returns until `stop`. */
export interface Capture {
  /** Ends it: a line for each packet, as `tcpdump -n -e` prints them. */
  stop(): Promise<string[]>;
  /** Waits, at most three seconds, for a packet whose line matches. */
  seen(pattern: RegExp): Promise<boolean>;
}

/** Starts tcpdump inside a namespace. @param options for tcpdump, `-Q in` for instance, and the filter at the end */
export async function capture(namespace: Netns, link: string, ...options: string[]): Promise<Capture> {
  const args = [
    `--net=${namespace.path}`,
    "--",
    "tcpdump",
    "-l",
    "-n",
    "-e",
    "--immediate-mode",
    "-i",
    link,
    ...options,
  ];
  const child = execa("nsenter", args, { reject: false, timeout: 30_000 });
  let packets = "";
  let messages = "";
  child.stdout.on("data", (chunk: Buffer) => {
    packets += chunk.toString();
  });
  child.stderr.on("data", (chunk: Buffer) => {
    messages += chunk.toString();
  });
  await until(() => messages.includes("listening on"), 5000);
  const lines = (): string[] => packets.split("\n").filter((line) => line !== "");
  return {
    stop: async () => {
      child.kill("SIGTERM");
      await child;
      return lines();
    },
    seen: (pattern) => until(() => lines().some((line) => pattern.test(line)), 3000),
  };
}
