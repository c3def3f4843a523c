/**
 * Writes layout.txt: which functions of the program the usual calls of the plugins run. The calls are made in network
 * namespaces by the executable that has the names of its functions, under valgrind.
 *
 *   node hack/toolchain/profile.ts DIRECTORY CODE.ll     the plugins with names, and the code they were made from
 */
import { existsSync, readFileSync } from "node:fs";
import { mkdir, readFile, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { execa } from "execa";
import { restrictPath } from "../programs/list.ts";
import { furnishSandbox, inSandbox, runInSandbox } from "../sandbox.ts";
import { LIST, listOf, namesOf, START } from "./layout.ts";

type Json = Record<string, unknown>;

/** A plugin's part of a network, as the chain of an attachment has it. */
type Entry = Json & { readonly type: string };

const root = "/run/podwire-layout";
const delegates = join(root, "delegates");
/** Of the last call. */
const profile = join(root, "profile");
const [bin = "", code = ""] = process.argv.slice(2);
const UPLINK = "192.0.2.1";
const VERSION = "1.1.0";
const PODS = ["pod-1", "pod-2"];
const DELEGATES = ["bridge", "host-local", "static"];
const NONE_VALID: Json = { "cni.dev/valid-attachments": [] };

const hostLocal = (network: number): Json => ({
  type: "host-local",
  dataDir: join(root, "leases"),
  ranges: [[{ subnet: `10.88.${network}.0/24` }], [{ subnet: `fd88:0:0:${network}::/64` }]],
  routes: [{ dst: "0.0.0.0/0" }, { dst: "::/0" }],
});
const fixed: Json = {
  type: "static",
  addresses: [{ address: "10.89.0.5/24", gateway: "10.89.0.1" }],
  routes: [{ dst: "0.0.0.0/0" }],
};
const portmap: Entry = {
  type: "portmap",
  capabilities: { portMappings: true },
  runtimeConfig: { portMappings: [{ hostPort: 8080, containerPort: 80, protocol: "tcp" }] },
};
const tuning: Entry = {
  type: "tuning",
  dataDir: join(root, "tuning"),
  sysctl: { "net.core.somaxconn": "500", "net.ipv4.conf.IFNAME.arp_filter": "1" },
  mtu: 1400,
};
const bandwidth: Entry = {
  type: "bandwidth",
  ingressRate: 8_000_000,
  ingressBurst: 800_000,
  egressRate: 8_000_000,
  egressBurst: 800_000,
};
const firewall: Entry = { type: "firewall", ingressPolicy: "same-bridge" };
const overlay: Entry = {
  type: "vxlan-overlay",
  podCIDRs: ["10.88.5.0/24", "fd88:0:0:5::/64"],
  clusterCIDRs: ["10.88.0.0/16", "fd88::/48"],
  underlay: UPLINK,
  peers: [{ nodeIP: "192.0.2.2", podCIDRs: ["10.88.6.0/24", "fd88:0:0:6::/64"] }],
  delegate: { bridge: "br5", ipam: hostLocal(5) },
};

/** The networks whose pods are attached, checked and detached: what people have, each plugin at least once. */
const NETWORKS: readonly (readonly Entry[])[] = [
  [{ type: "loopback" }],
  [{ type: "bridge", bridge: "br1", isGateway: true, ipam: hostLocal(1) }],
  [
    { type: "bridge", bridge: "br2", isGateway: true, isDefaultGateway: true, ipMasq: true, ipam: hostLocal(2) },
    portmap,
    firewall,
    bandwidth,
    tuning,
  ],
  [{ type: "ptp", ipMasq: true, ipam: hostLocal(3) }, portmap],
  [{ type: "ptp", ipam: fixed }],
  [overlay, portmap],
];

/** The symbols of the functions that ran, by plugin; START has those of VERSION. */
const ran = new Map<string, Set<string>>();

interface Call {
  readonly plugin: string;
  readonly verb: string;
  readonly config: Json;
  readonly attachment?: Readonly<Record<string, string>>;
}

/** Makes a call under valgrind, adds what ran, and returns what the plugin printed. @throws Error if it failed */
async function make({ plugin, verb, config, attachment = {} }: Call): Promise<string> {
  const options = ["-q", "--vgdb=no", "--tool=callgrind", `--callgrind-out-file=${profile}`];
  const { stdout, stderr, exitCode } = await execa("valgrind", [...options, join(bin, plugin)], {
    env: { CNI_COMMAND: verb, ...attachment, CNI_PATH: delegates, PATH: process.env.PATH ?? "" },
    extendEnv: false,
    input: JSON.stringify(config),
    reject: false,
    timeout: 60_000,
  });
  if (exitCode !== 0) throw new Error(`${plugin} ${verb} ended with ${exitCode}: ${stdout}\n${stderr}`);
  const recipient = verb === "VERSION" ? START : plugin;
  /* The name is given where a function is mentioned first, by itself or as one that is called. */
  const symbols = (await readFile(profile, "latin1")).matchAll(/^c?fn=\(\d+\) (\w+)/gm);
  ran.set(recipient, new Set([...(ran.get(recipient) ?? []), ...[...symbols].map((match) => match[1] ?? "")]));
  return stdout;
}

/** The lives of two attachments to a network: the first finds the node empty, the second does not. */
async function live(network: readonly Entry[], number: number): Promise<void> {
  const configs = network.map((entry) => ({ cniVersion: VERSION, name: `network-${number}`, ...entry }));
  for (const config of configs) await make({ plugin: config.type, verb: "STATUS", config });
  for (const pod of PODS) {
    const attachment = {
      CNI_CONTAINERID: `container-${number}-${pod}`,
      CNI_NETNS: `/run/netns/${pod}`,
      CNI_IFNAME: network[0]?.type === "loopback" ? "lo" : "eth0",
    };
    let previous: Json = {};
    for (const config of configs) {
      const call = { plugin: config.type, verb: "ADD", config: { ...config, ...previous }, attachment };
      previous = { prevResult: JSON.parse(await make(call)) as unknown };
    }
    for (const config of configs)
      await make({ plugin: config.type, verb: "CHECK", config: { ...config, ...previous }, attachment });
    /* Of the last attachment there is nothing left for DEL. */
    if (pod === PODS.at(-1))
      for (const config of configs)
        await make({ plugin: config.type, verb: "GC", config: { ...config, ...NONE_VALID } });
    for (const config of configs.toReversed())
      await make({ plugin: config.type, verb: "DEL", config: { ...config, ...previous }, attachment });
  }
}

/** What the calls need of the node. */
async function furnish(): Promise<void> {
  await furnishSandbox();
  await mkdir(delegates, { recursive: true });
  /*
   * The process is valgrind's tool, and a plugin calls a delegate in its own process if the file of that name is what the
   * process is. So the delegates in CNI_PATH are the tool.
   */
  const machine = process.arch === "x64" ? "amd64" : process.arch;
  const tool = join(process.env.VALGRIND_LIB ?? "/usr/libexec/valgrind", `callgrind-${machine}-linux`);
  if (!existsSync(tool)) throw new Error(`${tool} is missing: set VALGRIND_LIB to the directory of valgrind's tools`);
  for (const name of DELEGATES) await symlink(tool, join(delegates, name));
  await execa("ip", ["link", "add", "uplink0", "type", "veth", "peer", "name", "uplink1"]);
  await execa("ip", ["address", "add", `${UPLINK}/24`, "dev", "uplink0"]);
  await execa("ip", ["link", "set", "uplink0", "up"]);
  for (const pod of PODS) await execa("ip", ["netns", "add", pod]);
}

async function inside(): Promise<void> {
  await furnish();
  await make({ plugin: "bridge", verb: "VERSION", config: { cniVersion: VERSION } });
  for (const [number, network] of NETWORKS.entries()) await live(network, number);
  const names = namesOf(readFileSync(code, "utf8"));
  const named = [...ran].map(([plugin, symbols]) => {
    const known = [...symbols].map((symbol) => names.get(symbol)).filter((name) => name !== undefined);
    return [plugin, new Set(known)] as const;
  });
  await writeFile(join(import.meta.dirname, LIST), listOf(new Map(named)));
}

async function outside(): Promise<number> {
  const freePath = await restrictPath(["layout"]);
  try {
    return await runInSandbox(import.meta.filename, process.argv.slice(2));
  } finally {
    await freePath();
  }
}

if (inSandbox()) await inside();
else process.exit(await outside());
