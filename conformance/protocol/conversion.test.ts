/** Results of one version where the configuration is of another, and previous results that are none. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import {
  binDirectory,
  type CallResult,
  expectError,
  expectSuccess,
  type JsonObject,
  type Netns,
  referenceDirectory,
  Sandbox,
  VERSIONS,
} from "../../testbed/harness.ts";
import { PLUGINS, referenceOf, traces, validCall, validConfig, withUnderlay } from "./fixtures.ts";
import { shapeProblems } from "./shapes.ts";

let sandbox: Sandbox;

beforeAll(async () => {
  sandbox = await Sandbox.create();
  await withUnderlay(sandbox.host);
});

afterAll(async () => {
  await sandbox.remove();
});

const DNS = { nameservers: ["10.123.9.53"], domain: "a.example", search: ["b.example"], options: ["ndots:5"] };
const IPV4 = { address: "10.123.9.5/24", gateway: "10.123.9.1" };
const IPV6 = { address: "fd00:123::5/64", gateway: "fd00:123::1" };
const ROUTES4 = [{ dst: "0.0.0.0/0", gw: "10.123.9.1" }, { dst: "10.99.0.0/16" }];
const ROUTES6 = [{ dst: "fd00:99::/48", gw: "fd00:123::2" }];

const isOldest = (version: string): boolean => version < "0.3.0";

/** What an IPAM plugin says in a version; `cniVersion` null leaves the version out. */
function answerIn(version: string, cniVersion: string | null = version): JsonObject {
  const said = cniVersion === null ? {} : { cniVersion };
  if (isOldest(version)) {
    const half = ({ address, gateway }: typeof IPV4, routes: unknown) => ({ ip: address, gateway, routes });
    return { ...said, ip4: half(IPV4, ROUTES4), ip6: half(IPV6, ROUTES6), dns: DNS };
  }
  const named = (ip: typeof IPV4, family: string) => (version < "1.0.0" ? { version: family, ...ip } : ip);
  return { ...said, ips: [named(IPV4, "4"), named(IPV6, "6")], routes: [...ROUTES4, ...ROUTES6], dns: DNS };
}

/** What the bridge's result says of that in a version, without the interfaces. */
function said(result: JsonObject, version: string): JsonObject {
  if (isOldest(version)) return result;
  const { interfaces: _interfaces, ...rest } = result;
  const ips = (rest.ips as JsonObject[]).map(({ interface: _index, ...ip }) => ip);
  return { ...rest, ips };
}

describe.each(VERSIONS)("a configuration of version %s", (version) => {
  /** ADD by a bridge whose IPAM gives an answer, and DEL. */
  async function added(plugin: string, answer: JsonObject): Promise<CallResult> {
    const pod = await sandbox.pod();
    try {
      const path = await sandbox.script(
        "ipamstub",
        `#!/bin/sh\n[ "$CNI_COMMAND" != ADD ] || echo '${JSON.stringify(answer)}'\n`,
      );
      const config = { ...validConfig("bridge", version, sandbox), ipam: { type: "ipamstub" } };
      const options = { ...validCall("bridge", "ADD", sandbox, pod), plugin, config, path: `${path}:${binDirectory}` };
      const result = await sandbox.call(options);
      const removed = await sandbox.call({ ...options, command: "DEL" });
      if (plugin !== "bridge") return result;
      expect(removed).toMatchObject({ exitCode: 0, stdout: "" });
      expect(shapeProblems(result.json ?? {}, version, pod.path)).toEqual([]);
      return result;
    } finally {
      await pod.remove();
    }
  }

  test.each(VERSIONS)("an IPAM plugin's result of version %s is converted", async (other) => {
    const result = expectSuccess(await added("bridge", answerIn(other)));
    expect(said(result, version)).toEqual(answerIn(version));
  });

  test("a result that names no version is of the configuration's", async () => {
    for (const cniVersion of [null, ""]) {
      const result = expectSuccess(await added("bridge", answerIn(version, cniVersion)));
      expect(said(result, version)).toEqual(answerIn(version));
    }
  });

  test("addresses and routes are what the reference makes of them", async (ctx) => {
    const reference = referenceOf("bridge");
    if (reference === null) ctx.skip(`no reference plugins in ${referenceDirectory}`);
    for (const other of VERSIONS) {
      const theirs = await added(reference ?? "", answerIn(other));
      /* The installed reference may be too old for one of the two. */
      if (theirs.exitCode !== 0 && [version, other].includes("1.1.0")) continue;
      const ours = expectSuccess(await added("bridge", answerIn(other)));
      /* The reference passes over what IPAM says of DNS. */
      const [left, right] = [said(ours, version), said(expectSuccess(theirs), version)];
      expect({ ...left, dns: {} }, other).toEqual({ ...right, dns: {} });
    }
  });
});

describe.each(PLUGINS)("%s: a prevResult that is no object", (plugin) => {
  let pod: Netns;

  beforeAll(async () => {
    pod = await sandbox.pod();
  });

  test.each(["x", "", 5, 0, true, false, [], [{}]])(
    "%j: code 7 in ADD and CHECK, and DEL goes on",
    async (prevResult) => {
      const before = await traces(sandbox, pod);
      const config = { ...validConfig(plugin, "1.1.0", sandbox), prevResult };
      const base = validCall(plugin, "ADD", sandbox, pod);
      for (const command of ["ADD", "CHECK"]) {
        const msg = /^invalid value for "prevResult": expected an object, found /;
        expectError(await sandbox.call({ ...base, command, config }), { code: 7, msg });
      }
      expect(await traces(sandbox, pod)).toEqual(before);
      expect(await sandbox.call({ ...base, command: "DEL", config })).toMatchObject({ exitCode: 0, stdout: "" });
    },
  );
});
