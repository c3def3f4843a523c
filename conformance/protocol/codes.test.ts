/** Every error code that can occur, provoked: the table is in `codes.ts`. */
import { spawnSync } from "node:child_process";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import {
  binDirectory,
  type CallResult,
  callEnvironment,
  expectError,
  expectSuccess,
  type JsonObject,
  type Netns,
  noted,
  type Sandbox,
  withSandbox,
} from "../../testbed/harness.ts";
import { withAllowList } from "../plugins/tuning-lab.ts";
import { Attachment, spoil } from "./attachments.ts";
import { CODES, provocations, WAYS, type Way } from "./codes.ts";
import { type PluginName, start, withUnderlay } from "./fixtures.ts";
import { awaitsInput } from "./sleep.ts";

interface Scene {
  readonly plugin: PluginName;
  readonly sandbox: Sandbox;
  readonly pod: Netns;
  readonly item: Attachment;
}

/** An answer, of `call` or of a plugin that was started in another way. */
type Answer = Pick<CallResult, "exitCode" | "stdout">;

/** Root without the right to change network interfaces, as in a container that is not privileged. */
const POWERLESS = ["/usr/bin/setpriv", "--bounding-set=-net_admin", "--inh-caps=-net_admin", "--"];

/** A list of one node, as it is written into a file. */
const PEERS = [
  { generation: 1, complete: true, peers: 1 },
  { nodeIP: "192.0.2.2", podCIDRs: ["10.123.1.0/24"] },
];

async function signalled({ plugin, item, sandbox }: Scene, signal: NodeJS.Signals): Promise<Answer> {
  const options = { plugin, command: "ADD", containerId: "x", netns: item.pod.path, ifname: item.ifname };
  const running = start({ ...options, inside: sandbox.host }, callEnvironment(options, binDirectory));
  running.write("{");
  await awaitsInput(running.pid);
  running.kill(signal);
  return running.done;
}

/** Gives all addresses of a network with one, but for the gateway's, away; STATUS is to fail of that. */
async function exhaust({ plugin, sandbox, item }: Scene): Promise<JsonObject> {
  const given = { type: "host-local", subnet: "10.123.0.0/30", dataDir: sandbox.dataDir };
  const ipam = { ...given, statusFailsWhenExhausted: true };
  const config = { cniVersion: "1.1.0", name: "pwt-net", type: "host-local", ipam };
  const options = { plugin: "host-local", command: "ADD", netns: item.pod.path, ifname: "eth0", config };
  expectSuccess(await sandbox.call({ ...options, containerId: "the-other" }));
  return plugin === "vxlan-overlay" ? { delegate: { bridge: "pwt0", ipam } } : { ipam };
}

/** Puts something of somebody else's where the plugin's own is to be. */
async function takePlace({ plugin, sandbox, pod, item }: Scene): Promise<JsonObject> {
  if (plugin === "bridge" || plugin === "ptp") await pod.ip("link", "add", "eth0", "type", "bridge");
  if (plugin === "loopback") {
    await pod.ip("link", "set", "lo", "up");
    await pod.ip("address", "delete", "127.0.0.1/8", "dev", "lo");
    await pod.ip("address", "add", "192.0.2.9/32", "dev", "lo");
  }
  if (plugin === "bandwidth") {
    const link = (await sandbox.host.links()).find((name) => name.startsWith("veth")) ?? "";
    await sandbox.host.exec("tc", [
      "qdisc",
      "add",
      "dev",
      link,
      "root",
      "tbf",
      ...["rate", "1mbit", "burst", "9k", "latency", "1ms"],
    ]);
  }
  if (plugin === "portmap") {
    const other = new Attachment("portmap", "1.1.0", sandbox, await sandbox.pod());
    await other.prepare();
    expectSuccess(await other.call("ADD"));
  }
  if (plugin === "vxlan-overlay") {
    const vxlan = ["type", "vxlan", "id", "1", "dstport", "4789", "local", "192.0.2.1"];
    await sandbox.host.ip("link", "add", "theirs", ...vxlan);
    await sandbox.host.ip("link", "set", "theirs", "up");
    return { port: 4789, vni: 1 };
  }
  if (plugin === "tuning") {
    const podwire = { network: "pwt-net", containerID: "a", ifname: `b_${item.ifname}`, sysctls: [] };
    await mkdir(join(sandbox.directory, "tuning"), { mode: 0o700 });
    await writeFile(join(sandbox.directory, "tuning", `a_${podwire.ifname}.json`), JSON.stringify({ podwire }));
  }
  if (plugin !== "host-local") return {};
  expectSuccess(await item.call("ADD", { runtimeConfig: { ips: ["10.123.0.77"] } }, { containerId: "the-other" }));
  return { runtimeConfig: { ips: ["10.123.0.77"] } };
}

const PROVOKE: Readonly<Record<Way, (scene: Scene) => Promise<Answer>>> = {
  version: ({ item }) => item.call("ADD", { cniVersion: "9.8.7" }),
  variables: ({ item }) => item.call("ADD", {}, { ifname: "" }),
  unreadable: async ({ plugin, item }) => {
    const env = callEnvironment(
      { plugin, command: "ADD", containerId: "x", netns: item.pod.path, ifname: "eth0" },
      binDirectory,
    );
    const { status, stdout } = spawnSync("/bin/sh", ["-c", '"$0" </', join(binDirectory, plugin)], {
      env,
      encoding: "utf8",
    });
    return { exitCode: status, stdout };
  },
  cut: ({ item }) => item.call("ADD", {}, { stdin: '{"cniVersion":"1.1.0","name":"pwt' }),
  nameless: ({ item }) => item.call("ADD", { name: "" }),
  itsOwn: ({ item, sandbox }) => item.call("ADD", {}, { netns: sandbox.host.path }),
  noNamespace: ({ item }) => item.call("ADD", {}, { netns: "/dev/null" }),
  stopped: (scene) => signalled(scene, "SIGTERM"),
  noDelegate: ({ item }) => item.call("STATUS", { ipam: { type: "no-such-plugin" } }),
  exhausted: async (scene) => scene.item.call("STATUS", await exhaust(scene)),
  /* Without a backend named portmap would turn to iptables, which has no STATUS that could be refused. */
  powerless: ({ item, plugin }) =>
    item.call("STATUS", plugin === "portmap" ? { backend: "nftables" } : {}, { through: POWERLESS }),
  noUnderlay: async ({ item, sandbox }) => {
    await sandbox.host.ip("address", "del", "192.0.2.1/24", "dev", "lo");
    return item.call("STATUS");
  },
  badList: ({ item }) => item.call("STATUS", {}, { through: withAllowList("(?i)net") }),
  forbidden: ({ item }) => item.call("ADD", {}, { through: POWERLESS }),
  spoilt: async ({ item, sandbox }) => {
    const prevResult = expectSuccess(await item.call("ADD"));
    await spoil(item, sandbox);
    return item.call("CHECK", { prevResult });
  },
  changed: async ({ item }) => {
    const prevResult = expectSuccess(await item.call("ADD"));
    return item.call("CHECK", { prevResult, ipam: { type: "static", addresses: [{ address: "10.123.0.3/24" }] } });
  },
  /* A record's name is container and interface: "a_b" with "eth0" has that of "a" with "b_eth0". */
  taken: async (scene) =>
    scene.item.call("ADD", await takePlace(scene), scene.plugin === "tuning" ? { containerId: "a_b" } : {}),
  full: async (scene) => scene.item.call("ADD", await exhaust(scene)),
  missing: ({ plugin, item }) => {
    const ipam = { type: "no-such-plugin" };
    return item.call("ADD", plugin !== "vxlan-overlay" ? { ipam } : { delegate: { bridge: "pwt0", ipam } });
  },
  crashed: (scene) => signalled(scene, "SIGSEGV"),
};

const REQUESTS = [1, 4, 5, 6, 7, 8, 11];
const STATUS = [50];

/** The rows of the table for some codes, with what a test's name says of each. */
function rows(wanted: (code: number) => boolean) {
  return provocations()
    .filter(({ code }) => wanted(code))
    .map(({ code, plugin, way }) => [code, plugin, WAYS[way], way] as const);
}

/** Brings a plugin to give a code. */
async function provoke(code: number, plugin: PluginName, way: Way): Promise<void> {
  await withSandbox(async (sandbox) => {
    await withUnderlay(sandbox.host);
    const pod = await sandbox.pod();
    const item = new Attachment(plugin, "1.1.0", sandbox, pod);
    await item.prepare();
    const answer = await PROVOKE[way]({ plugin, sandbox, pod, item });
    expect(answer.exitCode, answer.stdout).toBe(1);
    const error = JSON.parse(answer.stdout) as JsonObject;
    expect(error, answer.stdout).toMatchObject({ code, cniVersion: "1.1.0", msg: expect.stringMatching(/./) });
    await item.finish();
  });
}

describe("a call that is wrong", () => {
  test.each(rows((code) => REQUESTS.includes(code)))(
    "code %d of %s: %s [CODE-1 CODE-4 CODE-5 CODE-6 CODE-7 CODE-11 EXIT-1 EXIT-2]",
    (code, plugin, _how, way) => provoke(code, plugin, way),
  );
});

describe("STATUS", () => {
  test.each(rows((code) => STATUS.includes(code)))(
    "code %d of %s: %s [STATUS-2 STATUS-3 STATUS-4 STATUS-5]",
    (code, plugin, _how, way) => provoke(code, plugin, way),
  );

  test("is content, with a note, where an overlay's list of peers cannot be read and pods can be added [STATUS-1]", () =>
    withSandbox(async (sandbox) => {
      await withUnderlay(sandbox.host);
      const item = new Attachment("vxlan-overlay", "1.1.0", sandbox, await sandbox.pod());
      await item.prepare();
      const peersFile = join(sandbox.directory, "bin-peers");
      const given = { peers: null, peersFile };
      await writeFile(peersFile, PEERS.map((line) => `${JSON.stringify(line)}\n`).join(""));
      expectSuccess(await item.call("STATUS", given));
      await writeFile(peersFile, (await readFile(peersFile, "utf8")).slice(0, 20));
      for (const verb of ["STATUS", "ADD"]) expect(noted(await item.call(verb, given))).toMatch(/bin-peers.* is kept/);
      await item.finish();
    }));
});

describe("work that cannot be done", () => {
  test.each(rows((code) => code >= 100))("code %d of %s: %s [ERROR-3]", (code, plugin, _how, way) =>
    provoke(code, plugin, way),
  );
});

test("every code of the source is in the table, and no other [ERROR-3]", async () => {
  const source = await readFile(new URL("../../lib/errors.ts", import.meta.url), "utf8");
  const codes = [...source.matchAll(/^export const [A-Z_]+ = (\d+);/gm)].map((match) => Number(match[1]));
  expect(CODES.map(({ code }) => code)).toEqual(codes);
});

test("DEL, and what is attached, do not care for a STATUS that fails [STATUS-8]", () =>
  withSandbox(async (sandbox) => {
    const item = new Attachment("bridge", "1.1.0", sandbox, await sandbox.pod());
    const given = { type: "host-local", subnet: "10.123.0.0/30", dataDir: sandbox.dataDir };
    const ipam = { ...given, statusFailsWhenExhausted: true };
    const prevResult = expectSuccess(await item.call("ADD", { ipam }));
    expectError(await item.call("STATUS", { ipam }), { code: 50 });
    expect(await item.call("CHECK", { ipam, prevResult })).toMatchObject({ exitCode: 0, stdout: "" });
    expect(await item.call("DEL", { ipam, prevResult })).toMatchObject({ exitCode: 0, stdout: "" });
    expect(await item.call("STATUS", { ipam })).toMatchObject({ exitCode: 0, stdout: "" });
  }));
