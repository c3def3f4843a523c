/** The loopback plugin: `lo` of a container. */
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import {
  type CallOptions,
  expectError,
  expectSuccess,
  type JsonObject,
  type Netns,
  Sandbox,
  VERSIONS,
} from "../../testbed/harness.ts";

let sandbox: Sandbox;
let pod: Netns;

beforeEach(async () => {
  sandbox = await Sandbox.create();
  pod = await sandbox.pod();
});

afterEach(async () => {
  await sandbox.remove();
});

function run(command: string, extra: JsonObject = {}, options: Partial<CallOptions> = {}) {
  return sandbox.call({
    plugin: "loopback",
    command,
    containerId: "c1",
    netns: pod.path,
    ifname: "lo",
    config: { cniVersion: "1.1.0", name: "cni-loopback", type: "loopback", ...extra },
    ...options,
  });
}

/** Whether `lo` of the pod is up. */
async function up(): Promise<boolean> {
  const [link] = await pod.query("link", "show", "dev", "lo");
  return ((link?.flags ?? []) as string[]).includes("UP");
}

const IPS = [
  { interface: 0, address: "127.0.0.1/8" },
  { interface: 0, address: "::1/128" },
];

function expectedResult(cniVersion: string): JsonObject {
  const lo = { name: "lo", mac: "00:00:00:00:00:00", sandbox: pod.path };
  if (cniVersion < "0.3.0") return { cniVersion, ip4: { ip: "127.0.0.1/8" }, ip6: { ip: "::1/128" }, dns: {} };
  if (cniVersion < "1.0.0") {
    const ips = IPS.map((ip, i) => ({ version: i === 0 ? "4" : "6", ...ip }));
    return { cniVersion, interfaces: [lo], ips, dns: {} };
  }
  return { cniVersion, interfaces: [cniVersion === "1.1.0" ? { ...lo, mtu: 65536 } : lo], ips: IPS };
}

describe.each(VERSIONS)("version %s", (cniVersion) => {
  test("ADD brings lo up and reports it in the version's shape; DEL brings it down", async () => {
    expect(await up()).toBe(false);
    const result = expectSuccess(await run("ADD", { cniVersion }));
    expect(result).toEqual(expectedResult(cniVersion));
    expect(await up()).toBe(true);
    expect(await pod.ping("127.0.0.1")).toBe(true);
    expect(await pod.ping("::1")).toBe(true);
    if (cniVersion >= "0.4.0") expectSuccess(await run("CHECK", { cniVersion, prevResult: result }));
    if (cniVersion >= "1.1.0") {
      expectSuccess(await run("STATUS", { cniVersion }));
      expectSuccess(await run("GC", { cniVersion, "cni.dev/valid-attachments": [] }));
      expect(await up()).toBe(true);
    }
    const deleted = await run("DEL", { cniVersion });
    expect(deleted.stdout).toBe("");
    expectSuccess(deleted);
    expect(await up()).toBe(false);
  });
});

describe("ADD", () => {
  test("as containerd calls it, and twice", async () => {
    const config = { cniVersion: "0.3.1", name: "cni-loopback", type: "loopback" };
    const first = expectSuccess(await run("ADD", {}, { config }));
    expect(first).toEqual(expectedResult("0.3.1"));
    expect(expectSuccess(await run("ADD", {}, { config }))).toEqual(first);
  });

  test("whatever the interface's name in the request is", async () => {
    expect(expectSuccess(await run("ADD", {}, { ifname: "eth0" })).interfaces).toMatchObject([{ name: "lo" }]);
    expect(await up()).toBe(true);
  });

  test("the previous plugin's result is handed on", async () => {
    const prevResult = {
      cniVersion: "1.1.0",
      interfaces: [{ name: "eth0", mac: "02:00:00:00:00:01", mtu: 1400, sandbox: pod.path }],
      ips: [{ interface: 0, address: "10.77.0.5/24", gateway: "10.77.0.1" }],
      routes: [{ dst: "0.0.0.0/0", gw: "10.77.0.1", mtu: 1300 }],
      dns: { nameservers: ["10.77.0.53"] },
    };
    expect(expectSuccess(await run("ADD", { prevResult }))).toEqual(prevResult);
    expect(await up()).toBe(true);
  });

  test("an address on lo that is no loopback address", async () => {
    await pod.ip("link", "set", "lo", "up");
    await pod.ip("address", "delete", "127.0.0.1/8", "dev", "lo");
    await pod.ip("address", "add", "10.77.0.5/32", "dev", "lo");
    expectError(await run("ADD"), {
      code: 102,
      msg: 'loopback interface found with non-loopback address "10.77.0.5/32"',
      details: /remove it/,
    });
  });

  test("a container without IPv6", async () => {
    await pod.exec("sh", ["-c", "echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6"]);
    expect(expectSuccess(await run("ADD")).ips).toEqual([IPS[0]]);
  });

  test("no namespace", async () => {
    expectError(await run("ADD", {}, { netns: "/run/netns/pwt-nowhere" }), { code: 8 });
    const file = join(sandbox.directory, "plain");
    await writeFile(file, "");
    expectError(await run("ADD", {}, { netns: file }), { code: 8, msg: /unknown FS magic/ });
  });
});

describe("DEL", () => {
  test.each([
    ["an empty path", () => ""],
    ["a missing path", () => "/run/netns/pwt-nowhere"],
  ])("%s", async (_name, path) => {
    for (let i = 0; i < 3; i += 1) expectSuccess(await run("DEL", {}, { netns: path() }));
  });

  test("a plain file, and three times in a row", async () => {
    const file = join(sandbox.directory, "plain");
    await writeFile(file, "");
    for (let i = 0; i < 3; i += 1) expectSuccess(await run("DEL", {}, { netns: file }));
    for (let i = 0; i < 3; i += 1) expectSuccess(await run("DEL"));
  });

  test("a prevResult of no use", async () => {
    expectSuccess(await run("DEL", { prevResult: { ips: 5 } }));
  });
});

describe("CHECK", () => {
  test("lo is down", async () => {
    const prevResult = expectSuccess(await run("ADD"));
    await pod.ip("link", "set", "lo", "down");
    expectError(await run("CHECK", { prevResult }), { code: 101, msg: "loopback interface is down" });
  });

  test("the namespace is gone", async () => {
    const prevResult = expectSuccess(await run("ADD"));
    await pod.remove();
    expectError(await run("CHECK", { prevResult }), { code: 8 });
  });
});
