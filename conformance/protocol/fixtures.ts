/** Configurations and calls that the protocol suites share: the smallest ones every plugin accepts. */
import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { binDirectory, type CallOptions, type Netns, referenceDirectory, type Sandbox } from "../../testbed/harness.ts";
import type { PluginName } from "./names.ts";

export { IPAM, PLUGINS, type PluginName, STATELESS } from "./names.ts";

export const SUBNET = "10.123.0.0/24";
/** The address that a host has between the nodes, if a test gives it one: `withUnderlay`. */
const UNDERLAY = "192.0.2.1";
const PEER = { nodeIP: "192.0.2.2", podCIDRs: ["10.123.1.0/24"] };

/** A configuration that the plugin accepts. Leases go to the sandbox. */
export function validConfig(plugin: PluginName, version: string | null, sandbox: Sandbox): Record<string, unknown> {
  const config: Record<string, unknown> = version === null ? {} : { cniVersion: version };
  config.name = "pwt-net";
  config.type = plugin;
  if (plugin === "bridge") config.bridge = "pwt0";
  if (plugin === "host-local" || plugin === "ptp")
    config.ipam = { type: "host-local", subnet: SUBNET, dataDir: sandbox.dataDir };
  if (plugin === "static")
    config.ipam = { type: "static", addresses: [{ address: "10.123.0.2/24", gateway: "10.123.0.1" }] };
  if (plugin === "tuning") config.dataDir = join(sandbox.directory, "tuning");
  if (plugin === "vxlan-overlay") {
    const ipam = { type: "host-local", ranges: [[{ subnet: SUBNET }]], dataDir: sandbox.dataDir };
    const delegate = { bridge: "pwt0", ipam };
    Object.assign(config, { podCIDRs: [SUBNET], underlay: UNDERLAY, peers: [PEER], delegate });
  }
  return config;
}

/** Gives a host what the overlay stands on. */
export async function withUnderlay(host: Netns): Promise<void> {
  await host.ip("address", "add", `${UNDERLAY}/24`, "dev", "lo");
}

/** A call with every variable set as the command requires. */
export function validCall(plugin: PluginName, command: string, sandbox: Sandbox, pod: Netns): CallOptions {
  return {
    plugin,
    command,
    containerId: "pwt-container",
    netns: pod.path,
    ifname: plugin === "loopback" ? "lo" : "eth0",
    config: validConfig(plugin, "1.1.0", sandbox),
  };
}

/** The executable of the reference suite, null where it is not installed. */
export function referenceOf(plugin: string): string | null {
  const path = join(referenceDirectory, plugin);
  return existsSync(path) ? path : null;
}

/** Everything a refused call could have left: links of host and pod, and files under the sandbox's directory. */
export async function traces(sandbox: Sandbox, pod: Netns): Promise<string[]> {
  const links = async (namespace: Netns): Promise<string[]> =>
    (await namespace.exec("cat", ["/proc/net/dev"]))
      .split("\n")
      .slice(2)
      .map((line) => (line.split(":")[0] ?? "").trim());
  const files = await readdir(sandbox.directory, { recursive: true });
  return [
    ...(await links(sandbox.host)).map((name) => `host link ${name}`),
    ...(await links(pod)).map((name) => `pod link ${name}`),
    ...files.filter((name) => !name.startsWith("bin-")).map((name) => `file ${name}`),
  ].sort();
}

/** A plugin that runs while the test does something to it: its stdin stays open until `end` is called. */
export interface Running {
  readonly pid: number;
  readonly done: Promise<{ exitCode: number | null; signal: string | null; stdout: string; stderr: string }>;
  write(text: string): void;
  end(): void;
  kill(signal: NodeJS.Signals): void;
}

/** Starts a plugin without waiting for it. */
export function start(options: CallOptions, env: Record<string, string>): Running {
  const executable = options.plugin.startsWith("/")
    ? options.plugin
    : join(options.bin ?? binDirectory, options.plugin);
  const inside = options.inside === undefined ? [] : ["/usr/bin/nsenter", `--net=${options.inside.path}`, "--"];
  const [file, ...args] = [...inside, executable];
  const child = spawn(file ?? executable, args, { env, stdio: ["pipe", "pipe", "pipe"] });
  let stdout = "";
  let stderr = "";
  child.stdout.on("data", (chunk: Buffer) => {
    stdout += chunk.toString();
  });
  child.stderr.on("data", (chunk: Buffer) => {
    stderr += chunk.toString();
  });
  /* A plugin that does not read its stdin may be gone before it is written. */
  child.stdin.on("error", () => {});
  const timer = setTimeout(() => child.kill("SIGKILL"), 20_000);
  const done = new Promise<{ exitCode: number | null; signal: string | null; stdout: string; stderr: string }>(
    (resolve, reject) => {
      child.on("error", reject);
      child.on("close", (exitCode, signal) => {
        clearTimeout(timer);
        child.stdin.destroy();
        resolve({ exitCode, signal, stdout, stderr });
      });
    },
  );
  return {
    pid: child.pid ?? 0,
    done,
    write: (text) => {
      child.stdin.write(text);
    },
    end: () => {
      child.stdin.end();
    },
    kill: (signal) => {
      child.kill(signal);
    },
  };
}
