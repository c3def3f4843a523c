/** DEL, GC and STATUS. */
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { execa } from "execa";
import { describe, expect, test } from "vitest";
import { expectError, expectSuccess, type JsonObject, type Netns } from "../../testbed/harness.ts";
import { BRIDGE, hostEnd, type Lab, leftovers, linkOf, NETWORK, NOTHING, withLab } from "./bridge-lab.ts";

const GATEWAY = { isGateway: true };

describe("DEL leaves nothing", () => {
  const WAYS: readonly (readonly [string, (lab: Lab, pod: Netns) => Promise<readonly [JsonObject, JsonObject]>])[] = [
    ["with everything as it was", async () => [GATEWAY, {}]],
    ["without a namespace", async () => [GATEWAY, { netns: "" }]],
    ["with a path where nothing is", async () => [GATEWAY, { netns: "/run/netns/pwt-nowhere" }]],
    [
      "with a plain file for a namespace",
      async (lab) => {
        const file = join(lab.sandbox.directory, "plain");
        await writeFile(file, "");
        return [GATEWAY, { netns: file }];
      },
    ],
    ["with the namespace of another pod", async (lab) => [GATEWAY, { netns: (await lab.pod()).path }]],
    [
      "with a namespace that died",
      async (lab, pod) => {
        const path = join(lab.sandbox.directory, "dead");
        await writeFile(path, "");
        await execa("ip", ["netns", "del", pod.name]);
        return [GATEWAY, { netns: path }];
      },
    ],
    ["with another bridge in the configuration", async () => [{ ...GATEWAY, bridge: "pwt9" }, {}]],
    [
      "with a configuration that ADD would refuse",
      async () => [{ mtu: 5, vlan: 9999, hairpinMode: true, promiscMode: true }, {}],
    ],
    ["with a prevResult of no use", async () => [{ ...GATEWAY, prevResult: { cniVersion: "0.2.0", ips: 5 } }, {}]],
    ["with CNI_ARGS that ADD would refuse", async () => [GATEWAY, { args: "MAC=zz;FOO" }]],
    [
      "after the bridge was removed",
      async (lab) => {
        await lab.host.ip("link", "delete", BRIDGE);
        return [GATEWAY, {}];
      },
    ],
    [
      "after the bridge became something else",
      async (lab) => {
        await lab.host.ip("link", "delete", BRIDGE);
        await lab.host.ip("link", "add", BRIDGE, "type", "veth", "peer", "name", "lo2");
        await lab.host.ip("link", "delete", "lo2");
        return [GATEWAY, {}];
      },
    ],
    [
      "after the container renamed its interface",
      async (_lab, pod) => {
        await pod.ip("link", "set", "eth0", "down");
        await pod.ip("link", "set", "eth0", "name", "wan0");
        return [GATEWAY, {}];
      },
    ],
    [
      "after the container's interface was removed",
      async (_lab, pod) => {
        await pod.ip("link", "delete", "eth0");
        return [GATEWAY, {}];
      },
    ],
  ];

  test.each(WAYS)("%s, three times in a row", (_name, prepare) =>
    withLab(async (lab) => {
      const pod = await lab.pod();
      await lab.add(pod, GATEWAY);
      const [extra, options] = await prepare(lab, pod);
      for (let i = 0; i < 3; i += 1) {
        await lab.del(pod, extra, options);
        expect(await leftovers(lab, null), `DEL ${i + 1}`).toEqual(NOTHING);
      }
      expect((await lab.calls()).filter((line) => line.startsWith("DEL"))).toHaveLength(3);
    }),
  );

  test("of an attachment that never was", () =>
    withLab(async (lab) => {
      const pod = await lab.pod();
      await lab.del(pod);
      expect(await lab.host.links()).toEqual(["lo"]);
    }));

  test("but for the bridge, and never the links of others", () =>
    withLab(async (lab) => {
      const [pod, other] = [await lab.pod(), await lab.pod()];
      await lab.add(pod, GATEWAY);
      const result = await lab.add(other, GATEWAY);
      await lab.del(pod, GATEWAY);
      expect(await lab.host.links()).toEqual(["lo", BRIDGE, hostEnd(result)].sort());
      expectSuccess(await lab.check(other, result, GATEWAY));
    }));

  test("a late DEL does not take the interface of the namespace's next attachment", () =>
    withLab(async (lab) => {
      const pod = await lab.pod();
      await lab.add(pod, {}, { containerId: "first" });
      await lab.del(pod, {}, { containerId: "first" });
      const result = await lab.add(pod, {}, { containerId: "second" });
      await lab.del(pod, {}, { containerId: "first" });
      expectSuccess(await lab.check(pod, result, {}, { containerId: "second" }));
      await lab.del(pod, { name: "other-net" }, { containerId: "second" });
      expect(await pod.links()).toEqual(["eth0", "lo"]);
    }));

  test("an interface of another kind under the name is not touched", () =>
    withLab(async (lab) => {
      const pod = await lab.pod();
      await pod.ip("link", "add", "eth0", "type", "bridge");
      await lab.del(pod);
      expect(await pod.links()).toEqual(["eth0", "lo"]);
    }));

  test("a failure of IPAM is told, and the link is gone all the same", () =>
    withLab(async (lab) => {
      const pod = await lab.pod();
      await lab.add(pod);
      await lab.behave('[ $CNI_COMMAND = DEL ] && { echo \'{"code":11,"msg":"locked"}\'; exit 1; }');
      expectError(await lab.run("DEL", pod), { code: 11, msg: "locked" });
      expect(await pod.links()).toEqual(["lo"]);
      await lab.behave("");
      await lab.del(pod);
      expect(await leftovers(lab, pod)).toEqual(NOTHING);
    }));
});

describe("GC", () => {
  const gc = (lab: Lab, pod: Netns, extra: JsonObject) => lab.run("GC", pod, { ...GATEWAY, ...extra });
  const entry = (pod: Netns, ifname = "eth0") => ({ containerID: pod.name, ifname });

  test.each(["cni.dev/valid-attachments", "cni.dev/attachments"])("%s: removes what is not in the list", (key) =>
    withLab(async (lab) => {
      const [keep, drop] = [await lab.pod(), await lab.pod()];
      const result = await lab.add(keep, GATEWAY);
      await lab.add(keep, GATEWAY, { ifname: "eth1" });
      await lab.add(drop, GATEWAY);
      const called = await gc(lab, keep, { [key]: [entry(keep)] });
      expect(called.stdout).toBe("");
      expectSuccess(called);
      expect(await keep.links()).toEqual(["eth0", "lo"]);
      expect(await drop.links()).toEqual(["lo"]);
      expect(await lab.host.links()).toEqual(["lo", BRIDGE, hostEnd(result)].sort());
      expectSuccess(await lab.check(keep, result, GATEWAY));
    }),
  );

  test("an empty list means that nothing is valid; no list, that nobody knows", () =>
    withLab(async (lab) => {
      const pod = await lab.pod();
      await lab.add(pod, GATEWAY);
      expectSuccess(await gc(lab, pod, {}));
      expect(await pod.links()).toEqual(["eth0", "lo"]);
      expectSuccess(await gc(lab, pod, { "cni.dev/valid-attachments": [] }));
      expect(await pod.links()).toEqual(["lo"]);
    }));

  test("of one network leaves the other networks of the bridge alone", () =>
    withLab(async (lab) => {
      const names = [NETWORK, "pwt-net2", "pwt", "pwt-net.x"];
      const pods: Netns[] = [];
      for (const name of names) {
        const pod = await lab.pod();
        await lab.add(pod, { name });
        pods.push(pod);
      }
      const foreign = await lab.pod();
      await lab.host.ip(
        "link",
        "add",
        "veth0123456789a",
        "type",
        "veth",
        "peer",
        "name",
        "eth0",
        "netns",
        foreign.name,
      );
      await lab.host.ip("link", "set", "veth0123456789a", "master", BRIDGE);
      expectSuccess(await gc(lab, foreign, { "cni.dev/valid-attachments": [] }));
      const left = await Promise.all([...pods, foreign].map(async (pod) => (await pod.links()).includes("eth0")));
      expect(left).toEqual([false, true, true, true, true]);
    }));

  test("finds an attachment whose ADD was killed before the link got its owner's name", () =>
    withLab(async (lab) => {
      const [a, b] = [await lab.pod(), await lab.pod()];
      const mine = await lab.add(a, GATEWAY);
      const others = await lab.add(b, { name: "other-net" });
      for (const result of [mine, others]) await lab.host.ip("link", "set", hostEnd(result), "alias", "");
      expect((await linkOf(lab.host, hostEnd(mine))).ifalias).toBeUndefined();
      expectSuccess(await gc(lab, a, { "cni.dev/valid-attachments": [] }));
      expect(await a.links()).toEqual(["lo"]);
      expect(await b.links()).toEqual(["eth0", "lo"]);
    }));

  test("with names as long as they may be", () =>
    withLab(async (lab) => {
      const name = "n".repeat(200);
      const [keep, drop] = [await lab.pod(), await lab.pod()];
      await lab.add(keep, { name }, { containerId: "k".repeat(200) });
      await lab.add(drop, { name }, { containerId: "d".repeat(200) });
      const valid = [{ containerID: "k".repeat(200), ifname: "eth0" }];
      expectSuccess(await lab.run("GC", keep, { name, "cni.dev/valid-attachments": valid }));
      expect(await keep.links()).toEqual(["eth0", "lo"]);
      expect(await drop.links()).toEqual(["lo"]);
      await lab.del(keep, { name }, { containerId: "k".repeat(200) });
      expect(await keep.links()).toEqual(["lo"]);
    }));

  test("is forwarded to IPAM with the list, and IPAM's failure is told", () =>
    withLab(async (lab) => {
      const pod = await lab.pod();
      const valid = [entry(pod)];
      expectSuccess(await gc(lab, pod, { "cni.dev/valid-attachments": valid }));
      expect(await lab.received("GC")).toMatchObject({ "cni.dev/valid-attachments": valid, name: NETWORK });
      await lab.behave('echo \'{"code":5,"msg":"disk"}\'; exit 1');
      expectError(await gc(lab, pod, { "cni.dev/valid-attachments": valid }), { code: 5, msg: "disk" });
    }));

  test.each([
    ["no list", 5, /valid-attachments/],
    ["an entry that is no object", ["x"], /valid-attachments\[0\]/],
    ["an entry without container", [{ ifname: "eth0" }], /valid-attachments\[0\]\.containerID/],
  ])("%s: an error, nothing removed", (_name, list, msg) =>
    withLab(async (lab) => {
      const pod = await lab.pod();
      await lab.add(pod);
      expectError(await gc(lab, pod, { "cni.dev/valid-attachments": list }), { code: 7, msg });
      expect(await pod.links()).toEqual(["eth0", "lo"]);
    }),
  );
});

describe("STATUS", () => {
  const status = async (lab: Lab, extra: JsonObject = {}) => lab.run("STATUS", lab.host, extra, { netns: "" });

  test("is content before the first pod and with pods, and changes nothing", () =>
    withLab(async (lab) => {
      expectSuccess(await status(lab, GATEWAY));
      expect(await lab.host.links()).toEqual(["lo"]);
      await lab.add(await lab.pod(), GATEWAY);
      expectSuccess(await status(lab, GATEWAY));
      expect(await lab.received("STATUS")).toMatchObject({ name: NETWORK });
    }));

  test("the bridge's name is taken by something else", () =>
    withLab(async (lab) => {
      await lab.host.ip("link", "add", BRIDGE, "type", "veth", "peer", "name", "other");
      expectError(await status(lab), { code: 50, msg: `"${BRIDGE}" already exists but is not a bridge` });
      const add = await lab.run("ADD", await lab.pod());
      expectError(add, { code: 102, msg: `"${BRIDGE}" already exists but is not a bridge`, details: /it is a veth/ });
      expect(await lab.leases()).toEqual([]);
    }));

  test("IPAM's answer is handed on", () =>
    withLab(async (lab) => {
      await lab.behave('echo \'{"code":51,"msg":"no room"}\'; exit 1');
      expectError(await status(lab), { code: 51, msg: "no room" });
    }));

  test("a configuration that ADD would refuse", () =>
    withLab(async (lab) => {
      expectError(await status(lab, { mtu: 5 }), { code: 7, msg: /"mtu"/ });
      expectError(await status(lab, { ipMasqBackend: "ipfw" }), { code: 7, msg: /"ipMasqBackend"/ });
    }));
});
