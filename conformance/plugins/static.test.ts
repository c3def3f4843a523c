/** static: what it answers, beside the reference's, and what becomes of it behind bridge and ptp. */
import { describe, expect, test } from "vitest";
import { type CallResult, expectError, expectSuccess, type JsonObject, VERSIONS } from "../../testbed/harness.ts";
import { referenceOf } from "../protocol/fixtures.ts";
import { addressesOf, type Lab, leftovers, NOTHING, withLab } from "./bridge-lab.ts";

const V4 = { address: "10.77.0.5/24", gateway: "10.77.0.1" };
const V6 = { address: "fd77::5/64", gateway: "fd77::1" };
const ROUTES = [{ dst: "0.0.0.0/0" }, { dst: "10.0.0.0/8", gw: "10.77.0.9" }, { dst: "::/0" }];
const DNS = { nameservers: ["10.0.0.53"], domain: "example.net", search: ["a"], options: ["b"] };

const ipam = (...addresses: JsonObject[]): JsonObject => ({ type: "static", addresses, routes: ROUTES, dns: DNS });
const ips = (...list: string[]): JsonObject => ({ runtimeConfig: { ips: list } });

/** Calls it, or another suite's. */
async function run(lab: Lab, verb: string, config: JsonObject, args?: string, plugin = "static"): Promise<CallResult> {
  const full = { cniVersion: "1.0.0", name: "pwt-net", type: "static", ...config };
  const more = args === undefined ? {} : { args };
  const netns = "/run/netns/pwt-nowhere";
  return lab.sandbox.call({ plugin, command: verb, containerId: "c", ifname: "eth0", netns, config: full, ...more });
}

/** An answer without what differs on purpose: an empty `dns`, the words of an error. */
function comparable({ json }: CallResult): JsonObject | string {
  const { dns, code, ...rest } = json ?? {};
  if (code !== undefined) return "an error";
  return JSON.stringify(dns) === "{}" || dns === undefined ? rest : { ...rest, dns };
}

const reference = referenceOf("static");

/** Debian's is older than 1.1.0, whose results have the form of those of 1.0.0. */
const known = (version: string): string => (version === "1.1.0" ? "1.0.0" : version);

describe.skipIf(reference === null).each(VERSIONS)("version %s", (cniVersion) => {
  test.each<[string, JsonObject, string | undefined]>([
    ["addresses of both families, routes, DNS", { ipam: ipam(V4, V6) }, undefined],
    ["CNI_ARGS: an address and its gateway", { ipam: ipam() }, "IP=10.77.0.7/24;GATEWAY=10.77.0.1"],
    ["CNI_ARGS: both families", { ipam: ipam() }, "IP=10.77.0.7/24,fd77::7/64;GATEWAY=10.77.0.1,fd77::1"],
    ["args.cni.ips", { ipam: ipam(V4), args: { cni: { ips: ["10.78.0.7/24"] } } }, undefined],
    [
      "runtimeConfig.ips before them",
      { ipam: ipam(V4), args: { cni: { ips: ["10.79.0.7/24"] } }, ...ips("10.78.0.7/24") },
      undefined,
    ],
    ["no prefix length", { ipam: { type: "static", addresses: [{ address: "10.77.0.5" }] } }, undefined],
    ["an address of no use in CNI_ARGS", { ipam: ipam() }, "IP=nonsense"],
    ["a gateway of no use in CNI_ARGS", { ipam: ipam(V4) }, "GATEWAY=nonsense"],
    ["ips of no use", { ipam: ipam(), ...ips("10.77.0.5") }, undefined],
    ["no ipam", ips("10.77.0.5/24"), undefined],
  ])("%s: as the reference", (_name, config, args) =>
    withLab(async (lab) => {
      const ours = await run(lab, "ADD", { cniVersion, ...config }, args);
      expect([0, 1]).toContain(ours.exitCode);
      const theirs = await run(lab, "ADD", { cniVersion: known(cniVersion), ...config }, args, reference ?? "");
      const expected = comparable(theirs);
      expect(comparable(ours)).toEqual(typeof expected === "string" ? expected : { ...expected, cniVersion });
    }),
  );
});

describe("behind another plugin", () => {
  const pluginConfig = (type: string, more: JsonObject = {}): JsonObject =>
    type === "bridge" ? { isGateway: true, ...more } : { type, bridge: undefined, ...more };

  test.each(["bridge", "ptp"])("%s: the pod has the addresses, the result DNS and routes; all goes again", (plugin) =>
    withLab(async (lab) => {
      const pod = await lab.pod();
      const config = pluginConfig(plugin, { ipam: { ...ipam(V4, V6), routes: [{ dst: "0.0.0.0/0" }] } });
      const result = expectSuccess(await lab.run("ADD", pod, config, { plugin }));
      const index = plugin === "bridge" ? 2 : 1;
      expect(result).toMatchObject({ ips: [V4, V6].map((ip) => ({ ...ip, interface: index })), dns: DNS });
      expect(await addressesOf(pod, "eth0")).toEqual(["10.77.0.5/24", "fd77::5/64"]);
      expect(await pod.ping("10.77.0.1")).toBe(true);
      expectSuccess(await lab.check(pod, result, config, { plugin }));
      expectError(await lab.check(pod, result, { ...config, ipam: ipam({ address: "10.77.0.6/24" }) }, { plugin }), {
        code: 101,
        msg: /^static: 10.77.0.6\/24 is not among the addresses of the previous result$/,
      });
      await lab.del(pod, config, { plugin });
      expect(await leftovers(lab, pod)).toEqual(NOTHING);
    }),
  );

  test("an address that the runtime asks for keeps the gateway of its network", () =>
    withLab(async (lab) => {
      const pod = await lab.pod();
      const config = pluginConfig("ptp", { ipam: { type: "static", addresses: [V4] }, ...ips("10.77.0.9") });
      const result = expectSuccess(await lab.run("ADD", pod, config, { plugin: "ptp" }));
      expect(result.ips).toEqual([{ address: "10.77.0.9/24", gateway: "10.77.0.1", interface: 1 }]);
      expectSuccess(await lab.check(pod, result, config, { plugin: "ptp" }));
    }));
});

test("CHECK compares the gateways that are configured", () =>
  withLab(async (lab) => {
    const prevResult = { cniVersion: "1.0.0", ips: [{ ...V4, gateway: "10.77.0.254" }] };
    expectError(await run(lab, "CHECK", { ipam: ipam(V4), prevResult }), {
      code: 101,
      msg: /^static: Failed to match addr 10.77.0.5\/24 on interface eth0$/,
    });
    expect(await run(lab, "CHECK", { ipam: ipam({ address: V4.address }), prevResult })).toMatchObject({ exitCode: 0 });
    expectError(await run(lab, "CHECK", { ipam: ipam(V4) }), { code: 7, msg: /^Required prevResult missing$/ });
  }));

test("DEL and GC succeed with whatever is configured by now; STATUS does not", () =>
  withLab(async (lab) => {
    const wrong = { cniVersion: "1.1.0", ipam: { type: "static", addresses: [{ address: "nonsense" }] } };
    for (const config of [wrong, { cniVersion: "1.1.0" }, { cniVersion: "1.1.0", ipam: 5 }]) {
      expect(await run(lab, "DEL", config)).toMatchObject({ exitCode: 0, stdout: "" });
      const valid = { "cni.dev/valid-attachments": [] };
      expect(await run(lab, "GC", { ...config, ...valid })).toMatchObject({ exitCode: 0, stdout: "" });
      expectError(await run(lab, "STATUS", config), { code: 7 });
    }
    expect(await run(lab, "STATUS", { cniVersion: "1.1.0", ipam: ipam(V4) })).toMatchObject({
      exitCode: 0,
      stdout: "",
    });
  }));

test("a gateway in CNI_ARGS that no address needs is told", () =>
  withLab(async (lab) => {
    const { exitCode, stderr } = await run(lab, "ADD", { ipam: ipam(V4) }, "GATEWAY=192.0.2.1");
    expect([exitCode, stderr]).toEqual([
      0,
      "static: no address is in the network of GATEWAY 192.0.2.1 in CNI_ARGS: it is not used\n",
    ]);
  }));
