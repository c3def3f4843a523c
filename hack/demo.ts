/**
 * `make demo`: what a container runtime does with Podwire, step by step, without a runtime: two pods are attached to one
 * bridge, reach each other and the world, publish a port, are checked, broken, checked again, and detached.
 *
 *   node hack/demo.ts [DIRECTORY]     the directory of the plugins, bin/ if left out
 */
import { existsSync } from "node:fs";
import { mkdir, readdir, writeFile } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import { execa } from "execa";
import { furnishSandbox, inSandbox, runInSandbox } from "./sandbox.ts";

type Json = Record<string, unknown>;
/** What a plugin call came to. */
interface Outcome {
  readonly status: number;
  readonly answer: Json | null;
  readonly text: string;
}
interface Pod {
  readonly name: string;
  readonly containerId: string;
  /** The ports the user wants to have published; the runtime hands them to plugins that ask for it. */
  readonly portMappings: readonly Json[];
  /** What ADD answered, kept for CHECK and DEL as runtimes keep it. */
  result: Json | null;
}

const repository = resolve(import.meta.dirname, "..");
const plugins = resolve(process.argv[2] ?? join(repository, "bin"));
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

const colour = process.stdout.isTTY === true || process.env.FORCE_COLOR !== undefined;
const paint = (code: number, text: string) => (colour ? `\x1b[${code}m${text}\x1b[0m` : text);
const heading = (text: string) => console.log(`\n${paint(1, text)}`);
const say = (text: string) => console.log(text);
const typed = (text: string) => console.log(paint(36, `  $ ${text}`));
const printed = (text: string) => {
  for (const line of text.trimEnd().split("\n")) console.log(paint(2, `    ${line}`));
};
const good = (text: string) => console.log(paint(32, `  ok: ${text}`));

class Failed extends Error {}

/** Runs a command of the machine, shows it as typed, and what it printed if asked to. */
async function shell(command: string, show: (output: string) => string = () => ""): Promise<string> {
  typed(command);
  const { all, exitCode } = await execa("sh", ["-c", command], { all: true, reject: false, stdin: "ignore" });
  if (exitCode !== 0) throw new Failed(`this command failed with status ${exitCode}: ${command}\n${all}`);
  const output = show(all);
  if (output !== "") printed(output);
  return all;
}

let calls = 0;

/** Starts a plugin as the specification says: the request in CNI_*, the configuration on standard input. */
async function call(verb: string, type: string, config: Json, attachment: Json): Promise<Outcome> {
  calls += 1;
  const input = join(root, "calls", `${calls}-${verb}.json`);
  await mkdir(dirname(input), { recursive: true });
  await writeFile(input, `${JSON.stringify(config)}\n`);
  const env = { CNI_COMMAND: verb, ...attachment, CNI_PATH: plugins } as Record<string, string>;
  const shorter = (path: string) => (path.startsWith(`${repository}/`) ? `.${path.slice(repository.length)}` : path);
  const words = Object.entries(env).map(([key, value]) => `${key}=${shorter(value)}`);
  const lines = [words.slice(0, 3), words.slice(3), [shorter(join(plugins, type)), "<", input]];
  typed(
    lines
      .filter((line) => line.length > 0)
      .map((line) => line.join(" "))
      .join(" \\\n      "),
  );
  const { stdout, stderr, exitCode } = await execa(join(plugins, type), {
    env: { ...env, PATH: process.env.PATH ?? "" },
    extendEnv: false,
    inputFile: input,
    reject: false,
    timeout: 20_000,
  });
  const answer = stdout === "" ? null : (JSON.parse(stdout) as Json);
  return { status: exitCode ?? -1, answer, text: stdout === "" ? stderr : stdout };
}

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

function mustSucceed(outcome: Outcome, what: string): void {
  if (outcome.status !== 0) throw new Failed(`${what} failed with status ${outcome.status}:\n${outcome.text}`);
}

/** ADD walks the list forwards; each plugin sees the result of the one before. */
async function add(pod: Pod): Promise<void> {
  for (const entry of list.plugins) {
    const outcome = await call("ADD", entry.type, configOf(entry, pod), attachmentOf(pod));
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
    outcome = await call("CHECK", entry.type, configOf(entry, pod), attachmentOf(pod));
    if (outcome.status !== 0) return outcome;
  }
  return outcome;
}

/** DEL walks the list backwards. */
async function del(pod: Pod): Promise<void> {
  for (const entry of list.plugins.toReversed()) {
    const outcome = await call("DEL", entry.type, configOf(entry, pod), attachmentOf(pod));
    mustSucceed(outcome, `DEL of ${pod.name}`);
  }
  pod.result = null;
}

/** JSON with one line for each interface, address and route. */
function compact(value: Json | null): string {
  if (value === null) return "(nothing)";
  const lines = Object.entries(value).map(([key, item]) => {
    if (!Array.isArray(item)) return `  ${JSON.stringify(key)}: ${JSON.stringify(item)}`;
    const items = item.map((element) => `    ${JSON.stringify(element)}`);
    return `  ${JSON.stringify(key)}: [\n${items.join(",\n")}\n  ]`;
  });
  return `{\n${lines.join(",\n")}\n}`;
}

const ping = (pod: Pod, address: string) =>
  shell(
    `ip netns exec ${pod.name} ping -c 1 -W 5 ${address}`,
    (output) => output.split("\n").find((line) => line.includes("bytes from")) ?? output,
  );

/** A program in a namespace that tells everybody who connects whom it sees. Returns how to end it. */
async function listen(name: string, port: number): Promise<() => void> {
  const script =
    `require("net").createServer((s) => s.end("${name} sees " + s.remoteAddress + "\\n"))` +
    `.listen(${port}, "0.0.0.0", () => console.log("listening"))`;
  typed(`ip netns exec ${name} node -e '${script}' &`);
  const server = execa("ip", ["netns", "exec", name, process.execPath, "-e", script], {
    stdin: "ignore",
    reject: false,
  });
  await Promise.race([new Promise((ready) => server.stdout.once("data", ready)), server]);
  return () => server.kill();
}

/** Connects from a namespace ("" is the node itself) and shows what is answered, which must contain `expected`. */
async function ask(name: string, address: string, port: number, expected: string): Promise<void> {
  const command = `timeout 5 bash -c 'cat < /dev/tcp/${address}/${port}'`;
  const answer = await shell(name === "" ? command : `ip netns exec ${name} ${command}`, (output) => output);
  if (!answer.includes(expected)) throw new Failed(`expected "${expected}", got "${answer}"`);
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
  const refusal = await call("ADD", "portmap", configOf(portmap, greedy), attachmentOf(greedy));
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
  const version = await call("VERSION", "bridge", { cniVersion: list.cniVersion }, {});
  mustSucceed(version, "VERSION");
  printed(version.text);

  heading("3. Two pods: a runtime makes the namespaces, loopback brings up lo");
  for (const pod of pods) {
    await shell(`ip netns add ${pod.name}`);
    const config = { cniVersion: list.cniVersion, name: "lo", type: "loopback" };
    const attachment = { ...attachmentOf(pod), CNI_IFNAME: "lo" };
    const outcome = await call("ADD", "loopback", config, attachment);
    mustSucceed(outcome, "ADD of lo");
    printed(compact(outcome.answer));
  }

  heading("4. ADD: the runtime fills in name and cniVersion, starts each plugin of the list, and keeps the Result");
  const firstAdd = calls + 1;
  for (const pod of pods) await add(pod);
  say("  Where the first Result came from, the configuration as the plugin got it:");
  await shell(`cat ${root}/calls/${firstAdd}-ADD.json`, (text) => text);
  good("each pod has an interface, addresses, a default route; the host has the bridge and one veth a pod");

  heading("5. What is there now");
  await shell("ip -brief address show", (text) => text);
  await shell(`ip -n ${blue.name} -brief address show`, (text) => text);
  await shell(`ip -n ${blue.name} route`, (text) => text);
  await shell(`ls ${leases}/${list.name}`, (text) => text.split("\n").join("  "));

  heading("6. The pods reach the gateway and each other");
  for (const gateway of [GATEWAY, ...(dual ? [GATEWAY6] : [])]) await ping(blue, gateway);
  for (const address of addressesOf(green)) await ping(blue, address);
  for (const address of addressesOf(blue)) await ping(green, address);
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

async function inside(): Promise<number> {
  await furnishSandbox();
  await mkdir(root, { recursive: true });
  const interrupted = new Promise<number>((done) => {
    const stop = () => {
      console.log("\ninterrupted: the machine within the machine goes, and everything in it");
      done(130);
    };
    process.on("SIGINT", stop);
    process.on("SIGTERM", stop);
  });
  const pods: [Pod, Pod] = [
    {
      name: "blue",
      containerId: "3f1c7a52b90d",
      portMappings: [{ hostPort: HOST_PORT, containerPort: 80, protocol: "tcp" }],
      result: null,
    },
    { name: "green", containerId: "a86e0d4417cf", portMappings: [], result: null },
  ];
  const finished = demonstrate(pods).then(
    () => 0,
    (error: unknown) => {
      console.error(paint(31, `\n${error instanceof Failed ? error.message : String(error)}`));
      return 1;
    },
  );
  return Promise.race([finished, interrupted]);
}

/** What the machine itself has of the demo's names: it may have other pods come and go meanwhile. */
async function tracesOutside(): Promise<string> {
  const commands = ["ip -o link show", "ip netns list", "ip -o address show", "ip route show table all"];
  const outputs = commands.map((command) => execa("sh", ["-c", command], { reject: false, stdin: "ignore" }));
  const lines = (await Promise.all(outputs)).flatMap((output) => output.stdout.split("\n"));
  const theirs = new RegExp(
    `\\b(cni0|blue|green|uplink0|${REMOTE.name})\\b|${SUBNET.slice(0, SUBNET.lastIndexOf("."))}|fd88:|${root}`,
  );
  return lines.filter((line) => theirs.test(line)).join("\n");
}

async function outside(): Promise<number> {
  const before = await tracesOutside();
  const status = await runInSandbox(import.meta.filename, process.argv.slice(2));
  const after = await tracesOutside();
  if (after !== before) {
    console.error(`the machine itself has changed meanwhile:\n${after}`);
    return 1;
  }
  if (status === 0) say(`\nYour machine: no link, address, route or namespace has come of this. ${paint(1, "Done.")}`);
  return status;
}

process.exit(await (inSandbox() ? inside() : outside()));
