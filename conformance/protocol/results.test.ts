/** The results of every plugin in the shape of every version, beside the reference's, and prevResults of every version. */
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import {
  expectError,
  expectSuccess,
  type JsonObject,
  type Netns,
  referenceDirectory,
  Sandbox,
  VERSIONS,
  withSandbox,
} from "../../testbed/harness.ts";
import { referenceOf, validCall, validConfig, withUnderlay } from "./fixtures.ts";
import { shapeProblems } from "./shapes.ts";

let sandbox: Sandbox;
let pod: Netns;

beforeAll(async () => {
  sandbox = await Sandbox.create();
  pod = await sandbox.pod();
});

afterAll(async () => {
  await sandbox.remove();
});

const isOldest = (version: string): boolean => version === "0.1.0" || version === "0.2.0";
const isNewer = (version: string): boolean => version.startsWith("1.");

/** The result has the shape of its version. */
function expectShape(result: JsonObject, version: string, netns: Netns): void {
  expect(shapeProblems(result, version, netns.path)).toEqual([]);
}

describe.each(VERSIONS)("version %s", (version) => {
  test("host-local gives what the reference gives [DELEG-1 IPAM-1 IPAM-2 RESULT-7]", async (ctx) => {
    const ranges = [[{ subnet: "10.77.0.0/24" }], [{ subnet: "fd77::/64", gateway: "fd77::fe" }]];
    const routes = [{ dst: "0.0.0.0/0" }, { dst: "10.0.0.0/8", gw: "10.77.0.9" }, { dst: "::/0", gw: "fd77::fe" }];
    const resolvConf = "/dev/null";
    const results: unknown[] = [];
    const reference = referenceOf("host-local");
    for (const plugin of ["host-local", reference]) {
      if (plugin === null) continue;
      const dataDir = join(sandbox.directory, `${version}-${results.length}`);
      await mkdir(dataDir);
      const config = {
        cniVersion: version,
        name: "results",
        type: "host-local",
        ipam: { type: "host-local", ranges, routes, resolvConf, dataDir },
      };
      const options = { ...validCall("host-local", "ADD", sandbox, pod), plugin, config };
      const result = await sandbox.call(options);
      if (plugin === reference && result.json?.code === 1) break;
      const answer = expectSuccess(result);
      if (plugin !== reference) expectShape(answer, version, pod);
      results.push(withoutEmptyDns(answer));
      expect(await sandbox.call({ ...options, command: "DEL" })).toMatchObject({ exitCode: 0, stdout: "" });
    }
    if (results.length < 2) ctx.skip(`no reference host-local in ${referenceDirectory} that speaks ${version}`);
    expect(results[0]).toEqual(results[1]);
  });

  test("loopback", async () => {
    const own = await sandbox.pod();
    const config = validConfig("loopback", version, sandbox);
    const options = { ...validCall("loopback", "ADD", sandbox, own), config };
    const answer = expectSuccess(await sandbox.call(options));
    expectShape(answer, version, own);
    if (isOldest(version)) expect(answer.ip4).toMatchObject({ ip: "127.0.0.1/8" });
    else
      expect(answer).toMatchObject({
        interfaces: [{ name: "lo", sandbox: own.path }],
        ips: [{ address: "127.0.0.1/8", interface: 0 }, { address: "::1/128" }],
      });
    expect(await sandbox.call({ ...options, command: "DEL" })).toMatchObject({ exitCode: 0, stdout: "" });
  });

  test("bridge gives what the reference gives, its names and addresses apart", async (ctx) => {
    const reference = referenceOf("bridge");
    const results: unknown[] = [];
    for (const plugin of ["bridge", reference]) {
      if (plugin === null) continue;
      const own = await Sandbox.create();
      try {
        const inside = await own.pod();
        const config = {
          ...{ cniVersion: version, name: "results", type: "bridge", bridge: "pwt0", isDefaultGateway: true },
          ipam: { type: "host-local", subnet: "10.78.0.0/24", dataDir: own.dataDir },
          dns: { nameservers: ["10.78.0.1"], search: ["a.example"] },
        };
        const path = plugin === reference ? referenceDirectory : undefined;
        const options = {
          ...validCall("bridge", "ADD", own, inside),
          plugin,
          config,
          ...(path === undefined ? {} : { path }),
        };
        const result = await own.call(options);
        if (plugin === reference && result.json?.code === 1) break;
        const answer = expectSuccess(result);
        if (plugin !== reference) expectShape(answer, version, inside);
        results.push(withoutEmptyDns(anonymous(answer, inside)));
        expect(await own.call({ ...options, command: "DEL" })).toMatchObject({ exitCode: 0, stdout: "" });
      } finally {
        await own.remove();
      }
    }
    if (results.length < 2) ctx.skip(`no reference bridge in ${referenceDirectory} that speaks ${version}`);
    expect(results[0]).toEqual(results[1]);
  });

  test("bridge without IPAM: an error where the version needs an address, and nothing attached", async () => {
    const own = await Sandbox.create();
    try {
      const inside = await own.pod();
      const config = validConfig("bridge", version, own);
      const result = await own.call({ ...validCall("bridge", "ADD", own, inside), config });
      if (isOldest(version)) {
        expectError(result, { code: 1, msg: "cannot convert: no valid IP addresses", cniVersion: version });
        expect(await inside.links()).toEqual(["lo"]);
        expect((await own.host.links()).filter((name) => name.startsWith("veth"))).toEqual([]);
      } else expectShape(expectSuccess(result), version, inside);
    } finally {
      await own.remove();
    }
  });

  test.each(["bridge", "loopback", "vxlan-overlay"] as const)(
    "%s refuses a prevResult of another group",
    async (plugin) => {
      const groups = [VERSIONS.slice(0, 2), VERSIONS.slice(2, 5), VERSIONS.slice(5)];
      /* The bridge is first in a chain: only CHECK has a prevResult for it. */
      const command = plugin === "bridge" ? "CHECK" : "ADD";
      if (command === "CHECK" && version < "0.4.0") return;
      for (const other of VERSIONS) {
        if (groups.some((group) => group.includes(version) && group.includes(other))) continue;
        const valid = { ...validConfig(plugin, version, sandbox), delegate: null };
        const config = { ...valid, prevResult: { cniVersion: other } };
        const result = await sandbox.call({ ...validCall(plugin, command, sandbox, pod), config });
        expectError(result, { code: 1, msg: /^result type supports \[/, cniVersion: version });
      }
    },
  );

  const chained = ["loopback", "vxlan-overlay"] as const;
  test.each(chained)("%s in a chain hands prevResult on [RESULT-2 OLD-4]", (plugin) =>
    withSandbox(async (own) => {
      const inside = await own.pod();
      await withUnderlay(own.host);
      const prevResult = previousOf(version, inside);
      const config = { ...validConfig(plugin, version, own), delegate: null, prevResult };
      const options = validCall(plugin, "ADD", own, inside);
      expect(expectSuccess(await own.call({ ...options, config }))).toEqual(prevResult);
      const { cniVersion: _cniVersion, ...unversioned } = prevResult;
      const again = { ...config, prevResult: unversioned };
      expect(expectSuccess(await own.call({ ...options, config: again }))).toEqual(prevResult);
    }),
  );

  test("vxlan-overlay that delegates: every verb that the version has", () =>
    withSandbox(async (own) => {
      const inside = await own.pod();
      await withUnderlay(own.host);
      const config = validConfig("vxlan-overlay", version, own);
      const call = (command: string, more: JsonObject = {}) =>
        own.call({ ...validCall("vxlan-overlay", command, own, inside), config: { ...config, ...more } });
      const prevResult = expectSuccess(await call("ADD"));
      expectShape(prevResult, version, inside);
      expect(JSON.stringify(prevResult)).toContain("10.123.0.2/24");
      if (version >= "0.4.0") expect(await call("CHECK", { prevResult })).toMatchObject({ exitCode: 0, stdout: "" });
      if (version === "1.1.0") {
        const valid = [{ containerID: "pwt-container", ifname: "eth0" }];
        expect(await call("STATUS")).toMatchObject({ exitCode: 0, stdout: "" });
        expect(await call("GC", { "cni.dev/valid-attachments": valid })).toMatchObject({ exitCode: 0, stdout: "" });
        expect(await inside.links()).toContain("eth0");
      }
      for (let twice = 0; twice < 2; twice += 1) {
        expect(await call("DEL", { prevResult })).toMatchObject({ exitCode: 0, stdout: "" });
      }
      expect(await inside.links()).toEqual(["lo"]);
    }));
});

/** What the plugin in front would have printed for a pod. */
function previousOf(version: string, inside: Netns): JsonObject {
  const route = { dst: "0.0.0.0/0" };
  if (isOldest(version)) {
    return { cniVersion: version, ip4: { ip: "10.123.0.3/24", gateway: "10.123.0.1", routes: [route] }, dns: {} };
  }
  const ip = { interface: 0, address: "10.123.0.3/24", gateway: "10.123.0.1" };
  return {
    cniVersion: version,
    interfaces: [{ name: "eth0", mac: "02:00:00:00:00:01", sandbox: inside.path }],
    ips: [isNewer(version) ? ip : { version: "4", ...ip }],
    routes: [{ ...route, gw: "10.123.0.1" }],
    dns: { nameservers: ["10.123.0.53"] },
  };
}

/** A result without what is each suite's own: link names, Ethernet addresses, the path of the namespace. */
function anonymous(result: JsonObject, inside: Netns): JsonObject {
  const text = JSON.stringify(result)
    .replaceAll(inside.path, "POD")
    .replaceAll(/"veth[0-9a-f]+"/g, '"VETH"')
    .replaceAll(/"mac":"[0-9a-f:]{17}"/g, '"mac":"MAC"')
    .replaceAll(/,"mtu":\d+/g, "");
  return JSON.parse(text) as JsonObject;
}

/** Older releases of the reference write an empty `dns` at 1.0.0 too. */
function withoutEmptyDns(result: JsonObject): JsonObject {
  const { dns, ...rest } = result;
  return JSON.stringify(dns) === "{}" ? rest : result;
}
