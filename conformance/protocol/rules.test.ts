/** Rules of the specification that the life of an attachment does not show: one table of plugins and versions each. */

import { afterAll, beforeAll, describe, expect, test } from "vitest";
import {
  binDirectory,
  expectError,
  expectSuccess,
  type JsonObject,
  Sandbox,
  VERSIONS,
  withSandbox,
} from "../../testbed/harness.ts";
import { Attachment } from "./attachments.ts";
import { PLUGINS, STATELESS, withUnderlay } from "./fixtures.ts";

const SILENT = { exitCode: 0, signal: null, stdout: "" };

let sandbox: Sandbox;

beforeAll(async () => {
  sandbox = await Sandbox.create();
  await withUnderlay(sandbox.host);
});

afterAll(async () => {
  await sandbox.remove();
});

const port = (hostPort: number) => ({
  runtimeConfig: { portMappings: [{ hostPort, containerPort: 80, protocol: "tcp" }] },
});

describe.each(PLUGINS)("%s", (plugin) => {
  test.each(VERSIONS)(
    "%s: `args`, unknown fields, `capabilities` and pairs that nobody asked for are passed over [OLD-8 PLUG-8 DERIVE-5 PARAM-5]",
    async (version) => {
      const item = new Attachment(plugin, version, sandbox, await sandbox.pod());
      await item.prepare();
      const more = {
        args: { labels: [{ key: "app", value: "x" }], cni: { somethingElse: { deep: [1, null] } } },
        capabilities: { portMappings: true, bandwidth: true, ips: true, mac: true },
        "example.org/anything": [{}],
      };
      const args = "IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=a-1";
      expectSuccess(await item.call("ADD", more, { args }));
      expect(await item.call("DEL", more, { args })).toMatchObject(SILENT);
      await item.finish();
    },
  );

  test("eight containers at once come and go without disturbing each other [LIFE-3 ATT-1]", async () => {
    const items = await Promise.all(
      Array.from(
        { length: 8 },
        async (_item, i) => new Attachment(plugin, "1.1.0", sandbox, await sandbox.pod(), `at-once-${i}`),
      ),
    );
    const more = (i: number) => (plugin === "portmap" ? port(9000 + i) : {});
    for (const item of items) await item.prepare();
    const results = (await Promise.all(items.map((item, i) => item.call("ADD", more(i))))).map(expectSuccess);
    const checks = await Promise.all(
      items.map((item, i) => item.call("CHECK", { ...more(i), prevResult: results[i] })),
    );
    for (const checked of checks) expect(checked, checked.stdout).toMatchObject(SILENT);
    const addresses = results.flatMap((result) => (result.ips as JsonObject[]).map((ip) => ip.address));
    if (!STATELESS.includes(plugin)) expect(new Set(addresses).size).toBe(items.length);
    for (const deleted of await Promise.all(items.map((item, i) => item.call("DEL", more(i))))) {
      expect(deleted, deleted.stdout).toMatchObject(SILENT);
    }
    for (const item of items) await item.finish();
  });

  test.each(VERSIONS.filter((version) => version >= "0.4.0"))(
    "%s: CHECK goes by the previous result [CHECK-1 CHECK-3]",
    async (version) => {
      const item = new Attachment(plugin, version, sandbox, await sandbox.pod());
      await item.prepare();
      const prevResult = expectSuccess(await item.call("ADD"));
      const ips = (prevResult.ips as JsonObject[]).map((ip) => ({ ...ip, address: "10.123.0.250/24" }));
      const wrong = await item.call("CHECK", { prevResult: { ...prevResult, ips } });
      /* What the address of the pod is matters to those that gave it, or lead to it. */
      if (["bandwidth", "loopback", "tuning"].includes(plugin)) expect(wrong).toMatchObject(SILENT);
      else expectError(wrong, { code: 101, cniVersion: version });
      expect(await item.call("CHECK", { prevResult })).toMatchObject(SILENT);
      expect(await item.call("DEL", { prevResult })).toMatchObject(SILENT);
      await item.finish();
    },
  );
});

describe.each(VERSIONS)("version %s: what IPAM says", (version) => {
  const bridge = async (answer: JsonObject, more: JsonObject = {}) => {
    const path = await sandbox.script(
      "ipamstub",
      `#!/bin/sh\n[ "$CNI_COMMAND" = ADD ] || exit 0\ncat <<'EOF'\n${JSON.stringify(answer)}\nEOF\n`,
    );
    const item = new Attachment("bridge", version, sandbox, await sandbox.pod());
    const call = (command: string) => item.call(command, { ...more, ipam: { type: "ipamstub" } }, { path });
    return { item, call };
  };
  const ip = { address: "10.123.7.5/24", gateway: "10.123.7.1" };
  const dns = { nameservers: ["10.123.7.53"], domain: "a.example", search: ["b.example"], options: ["ndots:5"] };
  const leased = (routes: readonly JsonObject[]): JsonObject => {
    const cniVersion = version;
    if (version < "0.3.0") return { cniVersion, ip4: { ip: ip.address, gateway: ip.gateway, routes }, dns };
    return { cniVersion, ips: [version < "1.0.0" ? { version: "4", ...ip } : ip], routes, dns };
  };

  test("becomes the result, and its gateway alone makes no default route [OLD-9 OLD-12 PLUG-6 DELEG-5]", async () => {
    const { item, call } = await bridge(leased([]));
    const result = expectSuccess(await call("ADD"));
    expect(result.dns).toEqual(dns);
    if (version < "0.3.0") expect(result.ip4).toEqual({ ip: ip.address, gateway: ip.gateway });
    else expect(result.ips).toMatchObject([ip]);
    expect(await item.pod.ip("route", "show", "default")).toBe("");
    expect(await call("DEL")).toMatchObject(SILENT);
  });

  test("routes have no metric unless one is asked for [OLD-10 OLD-14 OLD-15 RESULT-7]", async () => {
    const routes = [{ dst: "198.51.100.0/24" }, { dst: "203.0.113.0/24", gw: "10.123.7.9" }];
    const { item, call } = await bridge(leased(routes));
    expectSuccess(await call("ADD"));
    const [first, second] = await item.pod.query("route", "show", "dev", "eth0", "proto", "static");
    const found = [first, second].map((route) => [route?.dst, route?.gateway, route?.metric]);
    expect(found).toEqual([
      ["198.51.100.0/24", "10.123.7.1", undefined],
      ["203.0.113.0/24", "10.123.7.9", undefined],
    ]);
    expect(await call("DEL")).toMatchObject(SILENT);
  });

  test("a route from one IP version to the other is refused, and nothing is left [OLD-13]", async () => {
    const { item, call } = await bridge(leased([{ dst: "198.51.100.0/24", gw: "fd00::1" }]));
    expectError(await call("ADD"), {
      code: 7,
      msg: /^route to 198\.51\.100\.0\/24 has a gateway of the other IP version/,
    });
    expect(await item.pod.links()).toEqual(["lo"]);
  });

  test("a default route that another network has made stays, and ADD does not fail [OLD-11]", async () => {
    const { item, call } = await bridge(leased([{ dst: "0.0.0.0/0" }]));
    await item.pod.ip("link", "add", "eth7", "type", "bridge");
    await item.pod.ip("address", "add", "192.0.2.77/24", "dev", "eth7");
    await item.pod.ip("link", "set", "eth7", "up");
    await item.pod.ip("route", "add", "default", "via", "192.0.2.1");
    expectSuccess(await call("ADD"));
    const routes = (await item.pod.ip("route", "show", "default")).split("\n").map((line) => line.trim());
    expect(routes).toEqual(["default via 10.123.7.1 dev eth0 proto static", "default via 192.0.2.1 dev eth7"]);
    expect(await call("DEL")).toMatchObject(SILENT);
    expect(await item.pod.ip("route", "show", "default")).toContain("default via 192.0.2.1 dev eth7");
  });
});

test.each(VERSIONS)(
  "%s: host-local refuses a route from one IP version to the other [OLD-13 DELEG-1]",
  async (version) => {
    const item = new Attachment("host-local", version, sandbox, await sandbox.pod());
    const ipam = { ...(item.config.ipam as JsonObject), routes: [{ dst: "::/0", gw: "10.123.0.1" }] };
    expectError(await item.call("ADD", { ipam }), {
      code: 7,
      msg: /^route to ::\/0 has a gateway/,
      cniVersion: version,
    });
  },
);

test.each(["bridge", "host-local", "vxlan-overlay"] as const)(
  "%s begins a chain: its ADD prints what it made, whatever the previous result [ADD-3 RESULT-1]",
  async (plugin) => {
    const item = new Attachment(plugin, "1.1.0", sandbox, await sandbox.pod());
    const alone = expectSuccess(await item.call("ADD"));
    expect(await item.call("DEL")).toMatchObject(SILENT);
    const prevResult = { cniVersion: "1.1.0", interfaces: [{ name: "other0" }], ips: [{ address: "192.0.2.9/24" }] };
    const after = expectSuccess(await item.call("ADD", { prevResult }));
    expect(Object.keys(after)).toEqual(Object.keys(alone));
    expect(JSON.stringify(after)).not.toMatch(/other0|192\.0\.2\.9/);
    expect(await item.call("DEL")).toMatchObject(SILENT);
  },
);

test.each(["bridge", "vxlan-overlay"] as const)(
  "%s: a GC that IPAM fails still removes what is its own, and fails [GC-3 GC-4 DELEG-7]",
  (plugin) =>
    withSandbox(async (own) => {
      await withUnderlay(own.host);
      const item = new Attachment(plugin, "1.1.0", own, await own.pod());
      expectSuccess(await item.call("ADD"));
      const path = await own.script("host-local", '#!/bin/sh\necho \'{"code":140,"msg":"not now"}\'; exit 1\n');
      const failed = await item.call("GC", { "cni.dev/valid-attachments": [] }, { path: `${path}:${binDirectory}` });
      expectError(failed, { code: 140, msg: "not now" });
      expect(await item.pod.links()).toEqual(["lo"]);
    }),
);

test("CHECK of an overlay misses the address between the nodes [CHECK-7]", () =>
  withSandbox(async (own) => {
    await withUnderlay(own.host);
    const item = new Attachment("vxlan-overlay", "1.1.0", own, await own.pod());
    const prevResult = expectSuccess(await item.call("ADD"));
    await own.host.ip("address", "del", "192.0.2.1/24", "dev", "lo");
    const checked = await item.call("CHECK", { prevResult });
    expect(checked.exitCode, checked.stdout).toBe(1);
  }));
