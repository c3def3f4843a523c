/** An ADD that fails leaves nothing, whatever made it fail, and can be tried again. */
import { spawnSync } from "node:child_process";
import { closeSync, openSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import {
  binDirectory,
  callEnvironment,
  expectError,
  expectSuccess,
  type JsonObject,
  type Netns,
  until,
} from "../../testbed/harness.ts";
import { start } from "../protocol/fixtures.ts";
import {
  addressesOf,
  BRIDGE,
  hostEnd,
  type Lab,
  type Lease,
  leftovers,
  linkOf,
  NOTHING,
  withLab,
} from "./bridge-lab.ts";

const GATEWAY = { isGateway: true };
const LEASE: Lease = { ips: [{ address: "10.77.0.5/24" }, { address: "fd77::5/64" }] };

interface Failure {
  readonly name: string;
  /** What makes the ADD fail; returns what undoes it. */
  readonly prepare?: (lab: Lab, pod: Netns) => Promise<() => Promise<unknown>>;
  readonly lease?: Lease | string;
  readonly extra?: JsonObject;
  readonly code: number;
  readonly msg: RegExp;
}

const nothing = async () => {};

const FAILURES: readonly Failure[] = [
  {
    name: "another address on the bridge",
    prepare: async (lab) => {
      await lab.host.ip("link", "add", BRIDGE, "type", "bridge");
      await lab.host.ip("address", "add", "10.99.0.1/24", "dev", BRIDGE);
      return () => lab.host.ip("address", "delete", "10.99.0.1/24", "dev", BRIDGE);
    },
    code: 102,
    msg: /already has an IP address different from 10\.77\.0\.1\/24/,
  },
  {
    name: "IPAM fails",
    prepare: async (lab) => {
      await lab.behave('[ $CNI_COMMAND = ADD ] && { echo \'{"code":103,"msg":"full"}\'; exit 1; }');
      return () => lab.behave("");
    },
    code: 103,
    msg: /^full$/,
  },
  {
    name: "IPAM fails after it has taken an address",
    prepare: async (lab) => {
      await lab.behave('[ $CNI_COMMAND = ADD ] && { : > "$dir/leases/$key"; exit 1; }');
      return () => lab.behave("");
    },
    code: 104,
    msg: /netplugin failed/,
  },
  { name: "IPAM gives no address", lease: {}, code: 7, msg: /^IPAM plugin returned missing IP config$/ },
  { name: "IPAM prints garbage", lease: "<html>", code: 104, msg: /printed no valid result/ },
  {
    name: "a route whose gateway is of the other family",
    lease: { ...LEASE, routes: [{ dst: "192.0.2.0/24", gw: "fd77::1" }] },
    code: 7,
    msg: /^route to 192\.0\.2\.0\/24 has a gateway of the other IP version: fd77::1$/,
  },
  {
    name: "the second of two routes, whose gateway is the broadcast address",
    lease: { ...LEASE, routes: [{ dst: "192.0.2.0/24" }, { dst: "198.51.100.0/24", gw: "10.77.0.255" }] },
    code: 100,
    msg: /^cannot add route 198\.51\.100\.0\/24 via 10\.77\.0\.255 through eth0/,
  },
  {
    name: "the same address twice",
    lease: { ips: [{ address: "10.77.0.5/24" }, { address: "10.77.0.5/24" }] },
    code: 100,
    msg: /^cannot add address 10\.77\.0\.5\/24 to eth0/,
  },
  { name: "an MTU too small for IPv6", extra: { mtu: 1000 }, code: 7, msg: /"mtu": 1000 is too small for IPv6/ },
  {
    name: "the host end's name is taken by a link of somebody else's",
    prepare: async (lab, pod) => {
      const name = hostEnd(await lab.add(pod, GATEWAY, { lease: LEASE }));
      await lab.del(pod, GATEWAY);
      await lab.host.ip("link", "add", name, "type", "bridge");
      await lab.host.ip("link", "set", name, "alias", "precious");
      return () => lab.host.ip("link", "delete", name);
    },
    code: 102,
    msg: /^host link veth\w+ exists and is not this attachment's$/,
  },
];

describe("an ADD that fails leaves nothing and a retry works", () => {
  test.each(FAILURES.map((failure) => [failure.name, failure] as const))("%s", (_name, failure) =>
    withLab(async (lab) => {
      const pod = await lab.pod();
      const undo = failure.prepare === undefined ? nothing : await failure.prepare(lab, pod);
      const before = await lab.host.links();
      const config = { ...GATEWAY, ...failure.extra };
      expectError(await lab.run("ADD", pod, config, { lease: failure.lease ?? LEASE }), {
        code: failure.code,
        msg: failure.msg,
      });
      expect((await lab.host.links()).filter((name) => name !== BRIDGE)).toEqual(
        before.filter((name) => name !== BRIDGE),
      );
      expect(await pod.links()).toEqual(["lo"]);
      expect(await lab.leases()).toEqual([]);
      await undo();
      const result = await lab.add(pod, GATEWAY, { lease: LEASE });
      expectSuccess(await lab.check(pod, result, GATEWAY));
      await lab.del(pod, GATEWAY);
      expect(await leftovers(lab, pod)).toEqual(NOTHING);
    }),
  );

  test("a DEL after the failure is content, too", () =>
    withLab(async (lab) => {
      const pod = await lab.pod();
      expectError(await lab.run("ADD", pod, GATEWAY, { lease: {} }), { code: 7 });
      await lab.del(pod, GATEWAY);
      expect(await leftovers(lab, pod)).toEqual(NOTHING);
    }));
});

describe("an ADD of what is there already", () => {
  test("fails and leaves the first attachment as it is", () =>
    withLab(async (lab) => {
      const pod = await lab.pod();
      const result = await lab.add(pod, GATEWAY, { lease: LEASE });
      const before = await linkOf(lab.host, hostEnd(result));
      for (const lease of [LEASE, {}, "<html>"]) {
        expectError(await lab.run("ADD", pod, GATEWAY, { lease }), {
          code: 102,
          msg: /"eth0".*already exists/,
          details: /DEL the attachment/,
        });
      }
      expect((await linkOf(lab.host, hostEnd(result))).ifindex).toBe(before.ifindex);
      expect(await lab.leases()).toEqual([`${pod.name}.eth0`]);
      expect((await lab.calls()).filter((line) => line.startsWith("DEL"))).toEqual([]);
      expectSuccess(await lab.check(pod, result, GATEWAY));
    }));

  test("twice at once: one wins, and keeps its link and lease", () =>
    withLab(async (lab) => {
      await lab.behave("sleep 0.1");
      for (let round = 0; round < 5; round += 1) {
        const pod = await lab.pod();
        const results = await Promise.all([1, 2, 3, 4].map(() => lab.run("ADD", pod, GATEWAY, { lease: LEASE })));
        const won = results.filter((result) => result.exitCode === 0);
        expect(won.length, results.map((result) => result.stdout).join("\n")).toBe(1);
        expect(await lab.leases()).toEqual([`${pod.name}.eth0`]);
        expectSuccess(await lab.check(pod, won[0]?.json ?? {}, GATEWAY));
        await lab.del(pod, GATEWAY);
        expect(await leftovers(lab, pod)).toEqual(NOTHING);
      }
    }));

  test("an interface of somebody else's is not touched", () =>
    withLab(async (lab) => {
      const pod = await lab.pod();
      await pod.ip("link", "add", "eth0", "type", "veth", "peer", "name", "eth1");
      expectError(await lab.run("ADD", pod), { code: 102, msg: /"eth0".*already exists/ });
      expect(await pod.links()).toEqual(["eth0", "eth1", "lo"]);
      expect(await lab.host.links()).toEqual(["lo"]);
    }));

  test.each([
    ["is gone", true],
    ["is still there", false],
  ])("in another namespace (the runtime made a new one, the old one %s)", (_name, gone) =>
    withLab(async (lab) => {
      const [old, fresh] = [await lab.pod(), await lab.pod()];
      const options = { containerId: "same", lease: LEASE };
      await lab.add(old, GATEWAY, options);
      if (gone) await old.remove();
      const result = await lab.add(fresh, GATEWAY, options);
      expectSuccess(await lab.check(fresh, result, GATEWAY, { containerId: "same" }));
      expect(await fresh.ping("10.77.0.1")).toBe(true);
      if (!gone) expect(await old.links()).toEqual(["lo"]);
      await lab.del(fresh, GATEWAY, { containerId: "same" });
      expect(await leftovers(lab, fresh)).toEqual(NOTHING);
    }),
  );
});

describe("an ADD that is told to stop", () => {
  test.each(["SIGTERM", "SIGINT"] as const)("%s while IPAM takes its time", (signal) =>
    withLab(async (lab) => {
      const pod = await lab.pod();
      await lab.behave('[ $CNI_COMMAND = ADD ] && { : > "$dir/leases/$key"; sleep 1; }');
      await lab.answer(`${pod.name}.eth0`, LEASE);
      const options = {
        plugin: "bridge",
        command: "ADD",
        containerId: pod.name,
        netns: pod.path,
        ifname: "eth0",
        path: lab.path,
        inside: lab.host,
      };
      const running = start(options, callEnvironment(options, binDirectory));
      running.write(JSON.stringify(lab.config(GATEWAY)));
      running.end();
      expect(await until(async () => (await lab.leases()).length === 1, 5000)).toBe(true);
      running.kill(signal);
      const { exitCode, stdout } = await running.done;
      expect({ exitCode, error: JSON.parse(stdout) as JsonObject }).toMatchObject({ exitCode: 1, error: { code: 11 } });
      expect(await leftovers(lab, pod)).toEqual(NOTHING);
      await lab.behave("");
      await lab.add(pod, GATEWAY, { lease: LEASE });
    }),
  );

  test("a result that cannot be printed is taken back", () =>
    withLab(async (lab) => {
      const pod = await lab.pod();
      await lab.answer(`${pod.name}.eth0`, LEASE);
      const options = {
        plugin: "bridge",
        command: "ADD",
        containerId: pod.name,
        netns: pod.path,
        ifname: "eth0",
        path: lab.path,
      };
      const full = openSync("/dev/full", "w");
      try {
        const result = spawnSync("nsenter", [`--net=${lab.host.path}`, "--", join(binDirectory, "bridge")], {
          env: callEnvironment(options, binDirectory),
          input: JSON.stringify(lab.config(GATEWAY)),
          stdio: ["pipe", full, "pipe"],
        });
        expect(result.status).toBe(1);
      } finally {
        closeSync(full);
      }
      expect(await leftovers(lab, pod)).toEqual(NOTHING);
      expect(await lab.calls()).toEqual([`ADD ${pod.name}.eth0`, `DEL ${pod.name}.eth0`]);
    }));
});

describe("what is shared stays when an ADD fails", () => {
  test("the bridge and its gateway address, which others may be using", () =>
    withLab(async (lab) => {
      await lab.add(await lab.pod(), GATEWAY, { lease: { ips: [{ address: "10.77.0.9/24" }] } });
      const pod = await lab.pod();
      expectError(await lab.run("ADD", pod, GATEWAY, { lease: { ips: [{ address: "10.78.0.5/24" }] } }), { code: 102 });
      expect(await addressesOf(lab.host, BRIDGE)).toEqual(["10.77.0.1/24"]);
      expect(await lab.host.sysctl("net/ipv4/ip_forward")).toBe("1");
    }));
});
