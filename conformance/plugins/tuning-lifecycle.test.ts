/** What becomes of a tuned interface: CHECK, DEL, GC, `explain`, and interchange with the reference's plugin. */
import { mkdir, rm, symlink, writeFile } from "node:fs/promises";
import { describe, expect, test } from "vitest";
import { expectError, expectSuccess, type JsonObject, noted } from "../../testbed/harness.ts";
import { referenceOf } from "../protocol/fixtures.ts";
import { ALL_KINDS, isUntouched, plant } from "../trouble/planting.ts";
import {
  attributesOf,
  insideOf,
  MAC,
  SYSCTL,
  SYSCTL_FILE,
  type TunedPod,
  type TuningLab,
  withLab,
} from "./tuning-lab.ts";

const ALL = { mac: MAC, mtu: 1400, txQLen: 77, promisc: true, allmulti: true };
const WITH_SYSCTLS = { ...ALL, sysctl: { [SYSCTL]: "2", "net.core.somaxconn": "501" } };

describe("CHECK", () => {
  const changes: readonly (readonly [string, readonly string[], RegExp])[] = [
    [
      "the MAC",
      ["address", "02:00:00:00:00:01"],
      /^Error: Tuning configured Ethernet of eth0 is 02:00:00:00:0a:0b, current value is 02:00:00:00:00:01$/,
    ],
    ["the MTU", ["mtu", "1300"], /^Error: Tuning configured MTU of eth0 is 1400, current value is 1300$/],
    [
      "the queue",
      ["txqueuelen", "78"],
      /^Error: Tuning configured Transmit Queue Length of eth0 is 77, current value is 78$/,
    ],
    ["promiscuity", ["promisc", "off"], /^Error: Tuning link eth0 configured promisc is true, current value is 0$/],
    [
      "all-multicast",
      ["allmulticast", "off"],
      /^Error: Tuning configured all-multicast mode of eth0 is true, current value is false$/,
    ],
    ["the link", ["name", "lan0"], /^Cannot find container link eth0$/],
  ];
  test.each(changes)("finds that somebody changed %s", (_name, change, msg) =>
    withLab(async (lab) => {
      const pod = await lab.tuned(ALL);
      if (change[0] === "name") await pod.netns.rename("eth0", "lan0");
      else await pod.netns.ip("link", "set", "eth0", ...change);
      expectError(await lab.call("CHECK", pod, { ...ALL, prevResult: pod.result }), { code: 101, msg });
    }),
  );

  test("finds that somebody changed a sysctl", () =>
    withLab(async (lab) => {
      const pod = await lab.tuned(WITH_SYSCTLS);
      const check = () => lab.call("CHECK", pod, { ...WITH_SYSCTLS, prevResult: pod.result });
      expectSuccess(await check());
      await pod.netns.exec("sh", ["-ec", `echo 1 >/proc/sys/${SYSCTL_FILE}`]);
      expectError(await check(), {
        code: 101,
        msg: `Error: Tuning configured value of /proc/sys/${SYSCTL_FILE} is 2, current value is 1`,
      });
    }));

  test("compares values and not texts, and is content with a link that others make promiscuous", () =>
    withLab(async (lab) => {
      const pod = await lab.tuned({ mac: MAC, sysctl: { "net.ipv4.tcp_rmem": "4096 87380 200000" } });
      await pod.netns.ip("link", "set", "eth0", "promisc", "on");
      const same = {
        mac: MAC.toUpperCase().replaceAll(":", "-"),
        sysctl: { "net/ipv4/tcp_rmem": "4096   87380 200000" },
      };
      expectSuccess(await lab.call("CHECK", pod, { ...same, prevResult: pod.result }));
    }));
});

describe("DEL gives back what the first ADD found", () => {
  const ways: readonly (readonly [string, (pod: TunedPod & { result: JsonObject }) => JsonObject])[] = [
    ["with the last result", ({ result }) => ({ ...WITH_SYSCTLS, prevResult: result })],
    ["without a previous result", () => WITH_SYSCTLS],
    ["with another configuration", () => ({ mtu: 1234, sysctl: { "net.core.optmem_max": "1" } })],
    ["with a configuration that is wrong", () => ({ mac: "x", mtu: "y", sysctl: 5, allmulti: [] })],
  ];
  test.each(ways)("%s, and does no more when it is called again", (_name, more) =>
    withLab(async (lab) => {
      const fresh = await lab.pod();
      const before = [await fresh.netns.sysctl(SYSCTL_FILE), await fresh.netns.sysctl("net/core/somaxconn")];
      const pod = await lab.tuned(WITH_SYSCTLS);
      for (let time = 0; time < 3; time += 1) {
        expect(await lab.call("DEL", pod, more(pod))).toMatchObject({ exitCode: 0, stdout: "", stderr: "" });
        expect(await attributesOf(pod)).toEqual(pod.before);
        expect([await pod.netns.sysctl(SYSCTL_FILE), await pod.netns.sysctl("net/core/somaxconn")]).toEqual(before);
        expect(await lab.recordNames()).toEqual([]);
        if (time === 1) await pod.netns.ip("link", "set", "eth0", "mtu", "1450");
        if (time === 1) await pod.netns.ip("link", "set", "eth0", "mtu", "1500");
      }
    }),
  );

  test("of the namespace alone when the link has gone", () =>
    withLab(async (lab) => {
      const pod = await lab.tuned(WITH_SYSCTLS);
      await lab.detach(pod);
      expect(await pod.netns.sysctl("net/core/somaxconn")).toBe("501");
      expect(await lab.call("DEL", pod, {})).toMatchObject({ exitCode: 0, stderr: "" });
      expect(await pod.netns.sysctl("net/core/somaxconn")).not.toBe("501");
      expect(await lab.recordNames()).toEqual([]);
    }));

  test("not at all where there is no namespace any more, but forgets it", () =>
    withLab(async (lab) => {
      for (const netns of ["", "/run/netns/gone", "/dev/null"]) {
        const pod = await lab.tuned({ mtu: 1400 });
        const result = await lab.call("DEL", pod, {}, { netns });
        expect(result).toMatchObject({ exitCode: 0, stdout: "", stderr: "" });
        expect((await attributesOf(pod)).mtu).toBe(1400);
        expect(await lab.recordNames()).toEqual([]);
      }
    }));

  test("not to the next attachment's link of that name, nor to another namespace at the path", () =>
    withLab(async (lab) => {
      const pod = await lab.tuned(WITH_SYSCTLS);
      await lab.detach(pod);
      const next = await lab.pod({ netns: pod.netns, containerId: "next" });
      await next.netns.ip("link", "set", "eth0", "mtu", "1350", "txqueuelen", "3");
      await next.netns.exec("sh", ["-ec", "echo 600 >/proc/sys/net/core/somaxconn"]);
      const left = await attributesOf(next);
      expectSuccess(await lab.call("DEL", pod, { ...WITH_SYSCTLS, prevResult: pod.result }));
      expect(await attributesOf(next)).toEqual(left);
      expect(await next.netns.sysctl("net/core/somaxconn")).toBe("600");
      const third = await lab.tuned({ mtu: 1400 });
      expectSuccess(await lab.call("DEL", third, {}, { netns: next.netns.path }));
      expect(await attributesOf(next)).toEqual(left);
      expect(await lab.recordNames()).toEqual([]);
    }));

  test("for each interface of a container by itself", () =>
    withLab(async (lab) => {
      const first = await lab.tuned({ mtu: 1400 });
      const second = await lab.pod({ netns: first.netns, containerId: first.containerId, ifname: "net1" });
      expectSuccess(await lab.add(second, { mtu: 1300 }));
      expectSuccess(await lab.call("DEL", first, {}));
      expect([(await attributesOf(first)).mtu, (await attributesOf(second)).mtu]).toEqual([1500, 1300]);
      expectSuccess(await lab.call("DEL", second, {}));
      expect((await attributesOf(second)).mtu).toBe(1500);
    }));
});

describe("a record", () => {
  test.each([
    "",
    "{",
    '{"mtu":-5}',
    '{"mac":"ff:ff:ff:ff:ff:ff"}',
    '{"podwire":{"sysctls":[{"path":"kernel/x","value":"1"}]}}',
  ])("that is damaged is reported and not acted upon: %s", (text) =>
    withLab(async (lab) => {
      const pod = await lab.tuned({ mtu: 1400 });
      await lab.writeRecord(pod, text);
      expect(noted(await lab.call("DEL", pod, {}))).toMatch(/^the record .*_eth0\.json is damaged/);
      expect((await attributesOf(pod)).mtu).toBe(1400);
      expect(await lab.recordNames()).toEqual([]);
    }),
  );

  test("that is a symbolic link is not followed", () =>
    withLab(async (lab) => {
      const pod = await lab.tuned({ mtu: 1400 });
      const target = `${lab.sandbox.directory}/target`;
      await writeFile(target, '{"mtu":1300}');
      await rm(lab.recordPath(pod));
      await symlink(target, lab.recordPath(pod));
      expect(noted(await lab.call("DEL", pod, {}))).toMatch(/is damaged/);
      expect((await attributesOf(pod)).mtu).toBe(1400);
    }));

  test("of another container with the same file name is left alone", () =>
    withLab(async (lab) => {
      const pod = await lab.pod({ containerId: "a_b", ifname: "c" });
      expectSuccess(await lab.add(pod, { mtu: 1400 }));
      const other = await lab.pod({ containerId: "a", ifname: "b_c" });
      expectError(await lab.add(other, { mtu: 1300 }), { code: 102, msg: /is the record of container a_b c$/ });
      expect((await attributesOf(other)).mtu).toBe(1500);
      expect(await lab.recordNames()).toEqual(["a_b_c.json"]);
    }));

  test("is not kept, and none is read, where others could write", () =>
    withLab(async (lab) => {
      const pod = await lab.pod();
      await mkdir(lab.records, { recursive: true });
      await lab.sandbox.host.exec("chmod", ["777", lab.records]);
      for (const result of [await lab.add(pod, { mtu: 1400 }), await lab.call("DEL", pod, {})]) {
        expectError(result, { code: 5, msg: /is open to others/ });
      }
      expect((await attributesOf(pod)).mtu).toBe(1500);
    }));
});

describe.each(ALL_KINDS)("in the place of a record, or of one that is being written, %s", (kind) => {
  const isDirectory = kind.startsWith("a directory");

  test("keeps no DEL from its end, and nothing that it leads to is read or written", () =>
    withLab(async (lab) => {
      const target = `${lab.sandbox.directory}/target`;
      const pod = await lab.tuned({ mtu: 1400 });
      await rm(lab.recordPath(pod));
      await plant(kind, lab.recordPath(pod), target);
      expectSuccess(await lab.call("DEL", pod, {}));
      expect((await attributesOf(pod)).mtu).toBe(1400);
      expect(await lab.recordNames()).toHaveLength(isDirectory ? 1 : 0);
      await rm(lab.recordPath(pod), { recursive: true, force: true });
      await plant(kind, `${lab.records}/new`, target);
      const added = await lab.add(pod, { mtu: 1300 });
      if (isDirectory) expectError(added, { code: 5, msg: /already exists/ });
      else expectSuccess(added);
      expectSuccess(await lab.call("GC", pod, { "cni.dev/valid-attachments": [] }));
      expect(await lab.recordNames()).toEqual(isDirectory ? ["new"] : []);
      expect((await attributesOf(pod)).mtu).toBe(1400);
      expect(await isUntouched(target)).toBe(true);
    }));
});

describe("GC", () => {
  test("gives back what the network's attachments found that are not valid, and no others'", () =>
    withLab(async (lab) => {
      const [stays, goes, foreign] = [
        await lab.tuned(ALL),
        await lab.tuned(ALL),
        await lab.tuned({ ...ALL, name: "pwt-other" }),
      ];
      await lab.writeRecord({ ...goes, containerId: "reference" }, '{\n "mtu": 1500\n}');
      const valid = { "cni.dev/valid-attachments": [{ containerID: stays.containerId, ifname: "eth0" }] };
      const names = [stays, foreign].map(({ containerId }) => `${containerId}_eth0.json`);
      expectSuccess(await lab.call("GC", stays, {}));
      expect(await lab.recordNames()).toHaveLength(4);
      expectSuccess(await lab.call("GC", stays, valid));
      expect(await lab.recordNames()).toEqual([...names, "reference_eth0.json"].sort());
      expect(await attributesOf(goes)).toEqual(goes.before);
      for (const other of [stays, foreign]) expect(await attributesOf(other)).toEqual(ALL);
    }));
});

describe("explain", () => {
  async function explained(lab: TuningLab, pod: TunedPod, verb: string, more: JsonObject): Promise<string> {
    const { netns, containerId, ifname, bridged } = pod;
    const result = await lab.sandbox.call({
      ...{ plugin: "tuning", words: ["explain", verb], containerId, ifname, netns: netns.path },
      config: lab.config({ prevResult: bridged, ...more }),
    });
    expect(result).toMatchObject({ exitCode: 0, stderr: "" });
    return result.stdout;
  }

  test("tells of ADD, DEL and GC what a shell can do", () =>
    withLab(async (lab) => {
      const pod = await lab.pod();
      const before = await attributesOf(pod);
      const script = await explained(lab, pod, "ADD", WITH_SYSCTLS);
      expect(script).toContain(`sysctl -w ${SYSCTL_FILE}=2\n`);
      await lab.sandbox.host.exec("sh", ["-ec", script]);
      expectSuccess(await lab.call("CHECK", pod, { ...WITH_SYSCTLS, prevResult: pod.bridged }));
      await lab.sandbox.host.exec("ip", [
        "-n",
        pod.netns.name,
        "link",
        "set",
        "eth0",
        "address",
        before.mac,
        "mtu",
        "1500",
      ]);
      const tuned = await lab.tuned(WITH_SYSCTLS);
      const gc = await explained(lab, tuned, "GC", { "cni.dev/valid-attachments": [] });
      expect(gc).toContain(`rm -f ${lab.recordPath(tuned)}\n`);
      await lab.sandbox.host.exec("sh", ["-ec", await explained(lab, tuned, "DEL", {})]);
      expect(await attributesOf(tuned)).toEqual(tuned.before);
      expect(await tuned.netns.sysctl(SYSCTL_FILE)).toBe("0");
      expect(await lab.recordNames()).toEqual([]);
      expect(await explained(lab, tuned, "DEL", {})).toMatch(/nothing is there/);
    }));
});

const reference = referenceOf("tuning");

/** Debian's is older than txQLen. */
describe.skipIf(reference === null)("with the reference's plugin", () => {
  const options = { mac: MAC, mtu: 1400, promisc: true, allmulti: true };
  const theirs = { plugin: reference ?? "" };
  const at = { cniVersion: "1.0.0" };

  test("the same call has the same effect and the same result, but for the MTU", () =>
    withLab(async (lab) => {
      const more = { ...options, ...at, sysctl: { [SYSCTL]: "2", "net/core/somaxconn": "501" } };
      const seen = [];
      for (const plugin of [theirs, {}]) {
        const pod = await lab.pod({ version: "1.0.0", ifname: "eth0" });
        const { txQLen: _, ...before } = await attributesOf(pod);
        const result = expectSuccess(await lab.add(pod, more, plugin));
        expect(insideOf(result).mac).toBe(MAC);
        const { txQLen: __, ...after } = await attributesOf(pod);
        const sysctls = [await pod.netns.sysctl(SYSCTL_FILE), await pod.netns.sysctl("net/core/somaxconn")];
        seen.push([after, sysctls, (result.interfaces as JsonObject[]).map((item) => item.mac === MAC)]);
        expectSuccess(
          await lab.call(
            "CHECK",
            pod,
            { ...more, sysctl: { "net.core.somaxconn": "501" }, prevResult: result },
            plugin,
          ),
        );
        expectSuccess(await lab.call("DEL", pod, more, plugin));
        const { txQLen: ___, ...last } = await attributesOf(pod);
        expect(last).toEqual(before);
        await lab.detach(pod);
      }
      expect(seen[0]).toEqual(seen[1]);
    }));

  test.each([
    ["what it did is undone here", theirs, {}],
    ["it undoes what was done here", {}, theirs],
  ])("%s", (_name, adder, remover) =>
    withLab(async (lab) => {
      await mkdir(lab.records, { recursive: true, mode: 0o700 });
      const pod = await lab.pod({ version: "1.0.0" });
      const before = await attributesOf(pod);
      const result = expectSuccess(await lab.add(pod, { ...options, ...at }, adder));
      expect(await attributesOf(pod)).toEqual({ ...before, ...options });
      for (const checker of [adder, remover]) {
        expectSuccess(await lab.call("CHECK", pod, { ...options, ...at, prevResult: result }, checker));
      }
      expectSuccess(await lab.call("DEL", pod, { ...options, ...at }, remover));
      expect(await attributesOf(pod)).toEqual(before);
      expect(await lab.recordNames()).toEqual([]);
    }),
  );

  test("a second ADD here keeps what its first one found", () =>
    withLab(async (lab) => {
      const pod = await lab.pod({ version: "1.0.0" });
      const before = await attributesOf(pod);
      expectSuccess(await lab.add(pod, { ...options, ...at }, theirs));
      expectSuccess(await lab.add(pod, { ...options, ...at, mtu: 1300 }));
      expectSuccess(await lab.call("DEL", pod, { ...options, ...at }));
      expect(await attributesOf(pod)).toEqual(before);
    }));
});
