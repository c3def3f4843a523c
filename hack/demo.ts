/**
 * `make demo`: what a container runtime does with Podwire, step by step, without a runtime: two pods are attached to one
 * bridge, reach each other and the world, publish a port, are checked, broken, checked again, and detached.
 *
 *   node hack/demo.ts [DIRECTORY]     the directory of the plugins, bin/ if left out
 */
import { existsSync } from "node:fs";
import { mkdir, readdir, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import {
  ask,
  Caller,
  compact,
  Failed,
  good,
  heading,
  type Json,
  listen,
  mustSucceed,
  type Outcome,
  perform,
  plugins,
  printed,
  reach,
  say,
  shell,
} from "./stage.ts";

interface Pod {
  readonly name: string;
  readonly containerId: string;
  /** The ports the user wants to have published; the runtime hands them to plugins that ask for it. */
  readonly portMappings: readonly Json[];
  /** What ADD answered, kept for CHECK and DEL as runtimes keep it. */
  result: Json | null;
}

const root = "/run/podwire-demo";
const configPath = join(root, "etc/cni/net.d/10-podwire.conflist");
const leases = join(root, "var/lib/cni/networks");
const dual = existsSync("/proc/sys/net/ipv6");
const SUBNET = "10.88.0.0/24";
const GATEWAY = "10.88.0.1";
const GATEWAY6 = "fd88::1";
/** Another machine, which knows nothing of pods, and the node's address on the way there. */
const REMOTE = { name: "faraway", address: "192.0.2.2", nodeAddress: "192.0.2.1" };
const HOST_PORT = 8080;
const hasNft = ["/usr/sbin/nft", "/sbin/nft"].some((path) => existsSync(path));

type Entry = Json & { readonly type: string };

const list: { readonly cniVersion: string; readonly name: string; readonly plugins: readonly Entry[] } = {
  cniVersion: "1.1.0",
  name: "podwire-demo",
  plugins: [
    {
      type: "bridge",
      bridge: "cni0",
      isGateway: true,
      isDefaultGateway: true,
      ipMasq: true,
      ipam: {
        type: "host-local",
        dataDir: leases,
        ranges: [[{ subnet: SUBNET }], ...(dual ? [[{ subnet: "fd88::/64" }]] : [])],
      },
    },
    { type: "portmap", capabilities: { portMappings: true } },
  ],
};

const caller = new Caller(root);

/**
 * The configuration one plugin of the list gets: its own entry, with the list's name and version, what the user wants of the
 * capabilities it declares, and the result so far.
 */
function configOf(entry: Entry, pod: Pod): Json {
  const { cniVersion, name } = list;
  const { portMappings, result } = pod;
  return {
    cniVersion,
    name,
    ...entry,
    ...("capabilities" in entry && portMappings.length > 0 ? { runtimeConfig: { portMappings } } : {}),
    ...(result === null ? {} : { prevResult: result }),
  };
}

const attachmentOf = (pod: Pod): Json => ({
  CNI_CONTAINERID: pod.containerId,
  CNI_NETNS: `/run/netns/${pod.name}`,
  CNI_IFNAME: "eth0",
});

/** ADD walks the list forwards; each plugin sees the result of the one before. */
async function add(pod: Pod): Promise<void> {
  for (const entry of list.plugins) {
    const outcome = await caller.call("ADD", entry.type, configOf(entry, pod), attachmentOf(pod));
    mustSucceed(outcome, `ADD of ${pod.name}`);
    const same = JSON.stringify(pod.result) === JSON.stringify(outcome.answer);
    printed(same ? "(the same Result)" : compact(outcome.answer));
    pod.result = outcome.answer;
  }
}

/** CHECK walks the list forwards with the final result; returns the first complaint. */
async function check(pod: Pod): Promise<Outcome> {
  let outcome: Outcome = { status: 0, answer: null, text: "" };
  for (const entry of list.plugins) {
    outcome = await caller.call("CHECK", entry.type, configOf(entry, pod), attachmentOf(pod));
    if (outcome.status !== 0) return outcome;
  }
  return outcome;
}

/** DEL walks the list backwards. */
async function del(pod: Pod): Promise<void> {
  for (const entry of list.plugins.toReversed()) {
    const outcome = await caller.call("DEL", entry.type, configOf(entry, pod), attachmentOf(pod));
    mustSucceed(outcome, `DEL of ${pod.name}`);
  }
  pod.result = null;
}

function addressesOf(pod: Pod): string[] {
  const ips = (pod.result?.ips ?? []) as { address: string }[];
  return ips.map((ip) => ip.address.split("/")[0] ?? "");
}

/** Published ports and masquerade. Returns how to end the programs that were started. */
async function demonstratePorts(blue: Pod, green: Pod): Promise<(() => void)[]> {
  const { name, address, nodeAddress } = REMOTE;
  heading("7. Another machine, at the other end of a cable. It knows nothing of pods: it has no route to them");
  await shell(`ip netns add ${name}`);
  await shell(`ip link add uplink0 type veth peer name eth0 netns ${name}`);
  await shell(`ip address add ${nodeAddress}/24 dev uplink0; ip link set uplink0 up`);
  await shell(`ip -n ${name} address add ${address}/24 dev eth0; ip -n ${name} link set eth0 up`);

  heading(
    `8. Port ${HOST_PORT} of the node is published: it leads to port 80 of blue. And pods go out with the node's address`,
  );
  const servers = [await listen(blue.name, 80), await listen(name, 7777)];
  await ask(name, nodeAddress, HOST_PORT, `${blue.name} sees ${address}`);
  good("blue sees who it is; nothing is masqueraded on the way in");
  await ask("", "127.0.0.1", HOST_PORT, `${blue.name} sees ${GATEWAY}`);
  await ask(blue.name, nodeAddress, HOST_PORT, `${blue.name} sees ${GATEWAY}`);
  good("the node by its localhost, and blue itself: seen with the gateway's address, or the reply would not come back");
  await ask(blue.name, address, 7777, `${name} sees ${nodeAddress}`);
  good("out there blue has the node's address (ipMasq)");
  if (hasNft) await shell("nft list map inet podwire hostports4", (text) => text);

  heading(`9. Green wants port ${HOST_PORT} too`);
  const portmap = list.plugins.find((entry) => entry.type === "portmap");
  if (portmap === undefined) throw new Failed("the list has no portmap");
  const greedy = { ...green, portMappings: blue.portMappings };
  const refusal = await caller.call("ADD", "portmap", configOf(portmap, greedy), attachmentOf(greedy));
  if (refusal.status === 0) throw new Failed("the port was given twice");
  printed(refusal.text);
  good("refused, and the holder is named; a program that listens on the port would be, too");

  heading("10. Somebody reloads the firewall, and all rules are gone");
  if (!hasNft) {
    say("  (there is no nft here to do that with)");
    return servers;
  }
  await shell("nft flush ruleset");
  await shell(`${join(plugins, "portmap")} repair`, (text) => text);
  await ask(name, nodeAddress, HOST_PORT, `${blue.name} sees ${address}`);
  good("back, for all live pods; the next ADD, CHECK or STATUS would have done the same");
  return servers;
}

async function demonstrate(pods: readonly [Pod, Pod]): Promise<void> {
  const [blue, green] = pods;
  say("This is a machine within the machine: its own network, mounts and processes. Yours is not touched.");

  heading("1. What the administrator writes: a network");
  await mkdir(dirname(configPath), { recursive: true });
  await writeFile(configPath, `${JSON.stringify(list, null, 2)}\n`);
  await shell(`cat ${configPath}`, (text) => text);

  heading("2. What the plugins speak");
  const version = await caller.call("VERSION", "bridge", { cniVersion: list.cniVersion }, {});
  mustSucceed(version, "VERSION");
  printed(version.text);

  heading("3. Two pods: a runtime makes the namespaces, loopback brings up lo");
  for (const pod of pods) {
    await shell(`ip netns add ${pod.name}`);
    const config = { cniVersion: list.cniVersion, name: "lo", type: "loopback" };
    const attachment = { ...attachmentOf(pod), CNI_IFNAME: "lo" };
    const outcome = await caller.call("ADD", "loopback", config, attachment);
    mustSucceed(outcome, "ADD of lo");
    printed(compact(outcome.answer));
  }

  heading("4. ADD: the runtime fills in name and cniVersion, starts each plugin of the list, and keeps the Result");
  const firstAdd = caller.calls + 1;
  for (const pod of pods) await add(pod);
  say("  Where the first Result came from, the configuration as the plugin got it:");
  await shell(`cat ${caller.inputOf(firstAdd, "ADD")}`, (text) => text);
  good("each pod has an interface, addresses, a default route; the host has the bridge and one veth a pod");

  heading("5. What is there now");
  await shell("ip -brief address show", (text) => text);
  await shell(`ip -n ${blue.name} -brief address show`, (text) => text);
  await shell(`ip -n ${blue.name} route`, (text) => text);
  await shell(`ls ${leases}/${list.name}`, (text) => text.split("\n").join("  "));

  heading("6. The pods reach the gateway and each other");
  for (const gateway of [GATEWAY, ...(dual ? [GATEWAY6] : [])]) await reach(blue.name, gateway);
  for (const address of addressesOf(green)) await reach(blue.name, address);
  for (const address of addressesOf(blue)) await reach(green.name, address);
  good(dual ? "over IPv4 and IPv6" : "over IPv4 (this kernel has no IPv6)");

  const servers = await demonstratePorts(blue, green);

  heading("11. CHECK: is everything still as ADD left it?");
  for (const pod of pods) mustSucceed(await check(pod), `CHECK of ${pod.name}`);
  good("yes: silence and status 0");

  heading("12. Now somebody breaks blue: its default route is gone. CHECK says what is wrong");
  await shell(`ip -n ${blue.name} route del default`);
  const complaint = await check(blue);
  if (complaint.status === 0) throw new Failed("CHECK did not notice that the default route is gone");
  printed(complaint.text);
  good(`status ${complaint.status}, and the route is named`);

  heading("13. DEL: first green, then blue, broken as it is; and once more, because runtimes may repeat it");
  const { result } = blue;
  await del(green);
  await del(blue);
  await del({ ...blue, result });
  for (const stop of servers) stop();
  await shell("ip link delete uplink0");
  for (const { name } of [...pods, REMOTE]) await shell(`ip netns delete ${name}`);

  heading("14. What is left");
  const links = await shell("ip -brief link show", (text) => text);
  await shell(`ls ${leases}/${list.name}`, (text) => text.split("\n").join("  "));
  if (links.includes("veth")) throw new Failed("a veth is left");
  const left = (await readdir(join(leases, list.name))).filter((name) => /^10\.|^fd88/.test(name));
  if (left.length > 0) throw new Failed(`leases are left: ${left.join(", ")}`);
  if (hasNft) await shell("nft list map inet podwire hostports4", (text) => text);
  good("no veth, no lease, no published port; the empty bridge and the rules stay for the next pod");
}

const pods: [Pod, Pod] = [
  {
    name: "blue",
    containerId: "3f1c7a52b90d",
    portMappings: [{ hostPort: HOST_PORT, containerPort: 80, protocol: "tcp" }],
    result: null,
  },
  { name: "green", containerId: "a86e0d4417cf", portMappings: [], result: null },
];
const theirs = new RegExp(
  `\\b(cni0|blue|green|uplink0|${REMOTE.name})\\b|${SUBNET.slice(0, SUBNET.lastIndexOf("."))}|fd88:|${root}`,
);
await perform(import.meta.filename, theirs, () => demonstrate(pods));
