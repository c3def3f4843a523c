/** The life of an attachment, of every plugin at every version: what the specification asks of each verb on the way. */
import { readdir } from "node:fs/promises";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import {
  type CallResult,
  expectError,
  expectSuccess,
  type JsonObject,
  Sandbox,
  VERSIONS,
} from "../../testbed/harness.ts";
import { Attachment, CHAINED, MAKERS, spoil } from "./attachments.ts";
import { IPAM, PLUGINS, type PluginName, STATELESS, SUBNET, withUnderlay } from "./fixtures.ts";
import { ipamShapeProblems, shapeProblems } from "./shapes.ts";

const SILENT = { exitCode: 0, signal: null, stdout: "" };

describe.each(PLUGINS)("%s", (plugin) => {
  let sandbox: Sandbox;

  beforeAll(async () => {
    sandbox = await Sandbox.create();
    await withUnderlay(sandbox.host);
  });

  afterAll(async () => {
    await sandbox.remove();
  });

  /** What is left of pods: addresses that are leased, and links of the host that come with a pod. */
  async function leftovers(): Promise<string[]> {
    const files = await readdir(sandbox.directory, { recursive: true });
    const links = (await sandbox.host.links()).filter((name) => /^(veth|ifb|bwp)/.test(name));
    return [...files.filter((name) => /\/10\.123\./.test(name)), ...links];
  }

  /** An attachment that is there while `during` runs. */
  async function attached(
    version: string,
    during: (item: Attachment, added: JsonObject) => Promise<void>,
  ): Promise<void> {
    const pod = await sandbox.pod();
    const item = new Attachment(plugin, version, sandbox, pod);
    await item.prepare();
    try {
      await during(item, expectSuccess(await item.call("ADD")));
    } finally {
      await item.call("DEL");
      await item.finish();
      await pod.remove();
    }
    expect(await leftovers()).toEqual([]);
  }

  describe.each(VERSIONS)("version %s", (version) => {
    let item: Attachment;
    let added: CallResult;
    let result: JsonObject;

    beforeAll(async () => {
      item = new Attachment(plugin, version, sandbox, await sandbox.pod());
      await item.prepare();
      added = await item.call("ADD");
      result = added.json ?? {};
    });

    test("ADD succeeds with a result on stdout and nothing else [ADD-2 EXEC-2 EXIT-1 CONF-2 STATUS-7]", () => {
      expect(added, added.stdout).toMatchObject({ exitCode: 0, signal: null, stderr: "" });
      expect(added.json, added.stdout).toBeDefined();
    });

    test("the result has the shape of the version [RESULT-3 RESULT-4 RESULT-5 RESULT-6 RESULT-7 RESULT-8 OLD-1 OLD-2 OLD-3 OLD-13]", () => {
      expect(shapeProblems(result, version, item.pod.path)).toEqual([]);
      if (IPAM.includes(plugin)) expect(ipamShapeProblems(result, version)).toEqual([]);
      else if (version >= "0.3.0") expect(result.interfaces).not.toEqual([]);
    });

    test("the interface is there, and the result tells of it [ADD-1 PARAM-3]", async () => {
      if (IPAM.includes(plugin)) {
        expect(await item.pod.links()).toEqual(["lo"]);
        return;
      }
      expect(await item.pod.links()).toContain(item.ifname);
      expect(await item.pod.ip("link", "show", "up", "dev", item.ifname)).toContain(item.ifname);
      if (version < "0.3.0") return;
      const inside = (result.interfaces as JsonObject[]).filter((one) => one.sandbox !== undefined);
      expect(inside).toMatchObject([{ name: item.ifname, sandbox: item.pod.path }]);
    });

    if (CHAINED.includes(plugin))
      test("the previous result is handed on with what the plugin adds [ADD-3 RESULT-1 RESULT-2 OLD-4]", () => {
        const { interfaces: before, ...others } = item.previous ?? {};
        const { interfaces: after, ...rest } = result;
        expect(rest).toEqual(others);
        if (version < "0.3.0") return;
        /* bandwidth adds the link that it shapes by. */
        const added = (after as JsonObject[]).slice((before as JsonObject[]).length);
        expect(added.map((one) => String(one.name).slice(0, 3))).toEqual(plugin === "bandwidth" ? ["ifb"] : []);
        expect((after as JsonObject[]).slice(0, (before as JsonObject[]).length)).toEqual(before);
      });

    if (plugin === "loopback")
      test("the previous result is handed on as it is [ADD-3 RESULT-2 OLD-4]", async () => {
        const prevResult = previousResult(version, item.pod.path);
        expect(expectSuccess(await item.call("ADD", { prevResult }))).toEqual(prevResult);
      });

    test("CHECK right after ADD is content and says nothing [CHECK-1 CHECK-9 CHECK-11]", async () => {
      const checked = await item.call("CHECK", { prevResult: result });
      if (version >= "0.4.0") expect(checked, checked.stdout).toMatchObject(SILENT);
      else expectError(checked, { code: 1, cniVersion: version });
    });

    test("GC leaves what is valid, and STATUS is content; neither exists before 1.1.0 [GC-5 GC-6 GC-7 GC-8 STATUS-1 OLD-5]", async () => {
      for (const answer of [await item.call("GC", item.valid), await item.call("STATUS")]) {
        if (version === "1.1.0") expect(answer, answer.stdout).toMatchObject(SILENT);
        else expectError(answer, { code: 1, cniVersion: version });
      }
      if (version !== "1.1.0") return;
      expect(await item.call("CHECK", { prevResult: result })).toMatchObject(SILENT);
    });

    test("DEL undoes it, and may be called again [DEL-1 DEL-2 DEL-5 LIFE-5]", async () => {
      for (let time = 0; time < 3; time += 1) {
        const deleted = await item.call("DEL", { prevResult: result });
        expect(deleted, deleted.stdout).toMatchObject(SILENT);
      }
      await item.finish();
      expect(await item.pod.links()).toEqual(["lo"]);
      expect(await leftovers()).toEqual([]);
    });

    test("DEL needs neither namespace nor previous result [DEL-3 DEL-4 DEL-7 DEL-8]", async () => {
      const pod = await sandbox.pod();
      const gone = new Attachment(plugin, version, sandbox, pod, `gone-${version}`);
      await gone.prepare();
      expectSuccess(await gone.call("ADD"));
      await pod.remove();
      gone.previous = null;
      expect(await gone.call("DEL")).toMatchObject(SILENT);
      expect(await gone.call("DEL", {}, { netns: "" })).toMatchObject(SILENT);
      const bridge = { ...validBridge(gone), netns: "" };
      expect(await sandbox.call({ ...bridge, command: "DEL" })).toMatchObject(SILENT);
      expect(await leftovers()).toEqual([]);
    });

    /* What static gave is in the configuration and the previous result alone. */
    if (version >= "0.4.0" && plugin !== "static")
      test("CHECK misses what is not there any more [CHECK-3 CHECK-4 CHECK-5 CHECK-6 CHECK-8]", () =>
        attached(version, async (other, prevResult) => {
          await spoil(other, sandbox);
          expectError(await other.call("CHECK", { prevResult }), { code: 101, cniVersion: version });
        }));
  });

  /** The call of the bridge that attached a pod. */
  function validBridge(item: Attachment) {
    const ipam = { type: "host-local", subnet: SUBNET, dataDir: sandbox.dataDir };
    const config = { cniVersion: item.version, name: "pwt-net", type: "bridge", bridge: "pwt0", ipam };
    return { plugin: "bridge", containerId: item.containerId, ifname: "eth0", config };
  }

  const makes = MAKERS.includes(plugin);
  const keeps = !STATELESS.includes(plugin);

  if (makes)
    test("an interface of that name in the container: ADD fails and leaves it as it is [ADD-4 PARAM-4]", async () => {
      for (const version of VERSIONS) {
        const pod = await sandbox.pod();
        await pod.ip("link", "add", "eth0", "type", "bridge");
        const before = await pod.ip("link", "show", "eth0");
        const item = new Attachment(plugin, version, sandbox, pod);
        expectError(await item.call("ADD"), { code: 102, cniVersion: version });
        expect(await pod.ip("link", "show", "eth0")).toBe(before);
        expect(await leftovers()).toEqual([]);
      }
    });

  if (keeps)
    test("two attachments of one container live and die alone [ATT-1 OLD-6]", async () => {
      const pod = await sandbox.pod();
      const [first, second] = ["eth0", "eth1"].map((ifname) => {
        const item = new Attachment(plugin, "1.1.0", sandbox, pod, "both");
        return Object.assign(item, { ifname });
      }) as [Attachment, Attachment];
      await first.prepare();
      await second.prepare();
      const prevResult = expectSuccess(await first.call("ADD"));
      expectSuccess(await second.call("ADD", otherPort(plugin)));
      expect(await second.call("DEL", otherPort(plugin))).toMatchObject(SILENT);
      expect(await first.call("CHECK", { prevResult })).toMatchObject(SILENT);
      await second.finish();
      expect(await first.call("CHECK", { prevResult })).toMatchObject(SILENT);
      expect(await first.call("DEL")).toMatchObject(SILENT);
      await first.finish();
      expect(await leftovers()).toEqual([]);
    });

  if (keeps)
    test("GC takes what is not in its list, and only that [GC-1 GC-2 GC-5]", async () => {
      await attached("1.1.0", async (stays, prevResult) => {
        const goes = new Attachment(plugin, "1.1.0", sandbox, await sandbox.pod());
        await goes.prepare();
        const added = expectSuccess(await goes.call("ADD", otherPort(plugin)));
        expect(await stays.call("GC", stays.valid)).toMatchObject(SILENT);
        expectError(await goes.call("CHECK", { ...otherPort(plugin), prevResult: added }), { code: 101 });
        expect(await stays.call("CHECK", { prevResult })).toMatchObject(SILENT);
        await goes.finish();
      });
    });

  if (keeps)
    test.each(["cni.dev/valid-attachments", "cni.dev/attachments"])(
      "GC: %s that is null names none, as does an empty list; without it nothing goes [GC-1 GC-6]",
      async (key) => {
        for (const list of [null, []]) {
          const pod = await sandbox.pod();
          const item = new Attachment(plugin, "1.1.0", sandbox, pod);
          await item.prepare();
          const prevResult = expectSuccess(await item.call("ADD"));
          const untold = await item.call("GC");
          expect(untold).toMatchObject({ exitCode: 0, stdout: "" });
          expect(untold.stderr).toBe(
            `${plugin}: the configuration has no "cni.dev/valid-attachments", so GC removed nothing\n`,
          );
          expect(await item.call("CHECK", { prevResult })).toMatchObject(SILENT);
          expect(await item.call("GC", { [key]: list })).toMatchObject(SILENT);
          expectError(await item.call("CHECK", { prevResult }), { code: 101 });
          await item.finish();
          expect(await leftovers()).toEqual([]);
        }
      },
    );

  test.each([
    ["a string", "x", ""],
    ["an object", { containerID: "a", ifname: "eth0" }, ""],
    ["false", false, ""],
    ["null as an entry", [null], "[0]"],
    ["an entry without interface", [{ containerID: "a" }], "[0].ifname"],
    ["an entry without container", [{ containerID: "a", ifname: "eth0" }, { ifname: "eth0" }], "[1].containerID"],
    ["a number as a name", [{ containerID: "a", ifname: 5 }], "[0].ifname"],
  ])("GC: %s in place of the list is refused with the place, and nothing goes", async (_name, list, place) => {
    await attached("1.1.0", async (item, prevResult) => {
      for (const key of ["cni.dev/valid-attachments", "cni.dev/attachments"]) {
        const result = await item.call("GC", { [key]: list });
        expectError(result, {
          code: 7,
          msg: new RegExp(`^invalid value for "${key}${place.replaceAll(/[[\].]/g, "\\$&")}"`),
        });
      }
      expect(await item.call("CHECK", { prevResult })).toMatchObject(SILENT);
    });
  });

  test("a DEL after a failed ADD finds nothing to do [DEL-2]", async () => {
    const pod = await sandbox.pod();
    const item = new Attachment(plugin, "1.1.0", sandbox, pod, "failed");
    await item.prepare();
    const bridged = item.previous;
    const failed = await item.call("ADD", { ...BROKEN[plugin] });
    expect(failed.exitCode, failed.stdout).toBe(1);
    expect(await item.call("DEL", { ...BROKEN[plugin] })).toMatchObject(SILENT);
    if (bridged !== null) await item.finish();
    expect(await leftovers()).toEqual([]);
  });
});

/** What makes an ADD fail, and does not keep a DEL from its work. */
const BROKEN: Readonly<Record<PluginName, JsonObject>> = {
  bandwidth: { runtimeConfig: { bandwidth: { ingressRate: -1, ingressBurst: 1 } } },
  bridge: { mtu: 1 },
  firewall: { forwardMarkBit: 13 },
  "host-local": { runtimeConfig: { ips: ["192.0.2.1"] } },
  loopback: { prevResult: { cniVersion: "0.4.0" } },
  ptp: { mtu: 1 },
  static: { runtimeConfig: { ips: ["nonsense"] } },
  tuning: { mtu: 1 },
  portmap: { runtimeConfig: { portMappings: [{ hostPort: 0, containerPort: 80, protocol: "tcp" }] } },
  "vxlan-overlay": { vni: -1 },
};

/** Ports are one pod's only: another one needs another. */
function otherPort(plugin: PluginName): JsonObject {
  if (plugin !== "portmap") return {};
  return { runtimeConfig: { portMappings: [{ hostPort: 81, containerPort: 80, protocol: "tcp" }] } };
}

/** What some plugin in front would have printed. */
function previousResult(version: string, sandbox: string): JsonObject {
  if (version < "0.3.0") return { cniVersion: version, ip4: { ip: "10.123.0.3/24", gateway: "10.123.0.1" }, dns: {} };
  const ip = { interface: 0, address: "10.123.0.3/24", gateway: "10.123.0.1" };
  return {
    cniVersion: version,
    interfaces: [{ name: "eth0", mac: "02:00:00:00:00:01", sandbox }],
    ips: [version < "1.0.0" ? { version: "4", ...ip } : ip],
    routes: [{ dst: "0.0.0.0/0", gw: "10.123.0.1" }],
    dns: { nameservers: ["10.123.0.53"], domain: "a.example", search: ["b.example"], options: ["ndots:5"] },
  };
}
