/** The order and the texts of the checks that come before any work: environment, stdin, name, verb, version. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import {
  call,
  callEnvironment,
  expectError,
  expectSuccess,
  type Netns,
  Sandbox,
  VERSIONS,
} from "../../testbed/harness.ts";
import { PLUGINS, referenceOf, start, traces, validCall, validConfig } from "./fixtures.ts";

let sandbox: Sandbox;
let pod: Netns;
let untouched: string[];

beforeAll(async () => {
  sandbox = await Sandbox.create();
  pod = await sandbox.pod();
  untouched = await traces(sandbox, pod);
});

afterAll(async () => {
  await sandbox.remove();
});

const COMMANDS = ["ADD", "CHECK", "DEL", "GC", "STATUS"] as const;
const VERBS_SINCE: Record<string, string> = {
  ADD: "0.1.0",
  DEL: "0.1.0",
  CHECK: "0.4.0",
  GC: "1.1.0",
  STATUS: "1.1.0",
};

describe.each(PLUGINS)("%s", (plugin) => {
  describe("VERSION", () => {
    test("one line, from no other variable, whatever stdin holds [PROBE-1 PROBE-3 PROBE-4 PROBE-5]", async () => {
      for (const stdin of ["", "{", '{"cniVersion":"0.3.1"}']) {
        const result = await call({ plugin, command: "VERSION", path: null, stdin });
        expect(result).toMatchObject({ exitCode: 0, stderr: "" });
        expect(result.stdout).toBe(`${JSON.stringify({ cniVersion: "1.1.0", supportedVersions: VERSIONS })}\n`);
      }
    });

    test("does not wait for stdin and ignores malformed variables", async () => {
      const running = start({ plugin }, { CNI_COMMAND: "VERSION", CNI_CONTAINERID: "a/b", CNI_IFNAME: "x".repeat(40) });
      expect(await running.done).toMatchObject({ exitCode: 0, stderr: "" });
    });
  });

  describe("the environment comes first", () => {
    test.each([
      ["ADD", {}, "required env variables [CNI_CONTAINERID,CNI_NETNS,CNI_IFNAME,CNI_PATH] missing"],
      ["CHECK", {}, "required env variables [CNI_CONTAINERID,CNI_NETNS,CNI_IFNAME,CNI_PATH] missing"],
      ["DEL", {}, "required env variables [CNI_CONTAINERID,CNI_IFNAME,CNI_PATH] missing"],
      ["GC", {}, "required env variables [CNI_PATH] missing"],
      ["STATUS", {}, "required env variables [CNI_PATH] missing"],
      ["ADD", { CNI_IFNAME: "eth0" }, "required env variables [CNI_CONTAINERID,CNI_NETNS,CNI_PATH] missing"],
      [
        "ADD",
        { CNI_CONTAINERID: "a", CNI_NETNS: "", CNI_IFNAME: "eth0", CNI_PATH: "/x" },
        "required env variables [CNI_NETNS] missing",
      ],
      [
        "DEL",
        { CNI_CONTAINERID: "", CNI_IFNAME: "", CNI_PATH: "/x" },
        "required env variables [CNI_CONTAINERID,CNI_IFNAME] missing",
      ],
      ["ADD", { CNI_CONTAINERID: "a/b" }, "invalid characters in containerID"],
      ["ADD", { CNI_CONTAINERID: "-a", CNI_IFNAME: "a/b" }, "invalid characters in containerID"],
      ["ADD", { CNI_CONTAINERID: "a b" }, "invalid characters in containerID"],
      ["DEL", { CNI_CONTAINERID: "../../etc" }, "invalid characters in containerID"],
      ["ADD", { CNI_IFNAME: "1234567890123456" }, "interface name is too long"],
      ["ADD", { CNI_IFNAME: "öööööööö" }, "interface name is too long"],
      ["ADD", { CNI_IFNAME: "." }, "interface name is . or .."],
      ["CHECK", { CNI_IFNAME: ".." }, "interface name is . or .."],
      ["ADD", { CNI_IFNAME: "a/b" }, "interface name contains / or : or whitespace characters"],
      ["ADD", { CNI_IFNAME: "a:b" }, "interface name contains / or : or whitespace characters"],
      ["DEL", { CNI_IFNAME: "a b" }, "interface name contains / or : or whitespace characters"],
      ["DEL", { CNI_IFNAME: "a\tb" }, "interface name contains / or : or whitespace characters"],
      ["DEL", { CNI_IFNAME: "a\u2003b" }, "interface name contains / or : or whitespace characters"],
    ] as const)(
      "%s %j: %s [ADD-6 ADD-7 CHECK-12 CHECK-13 STATUS-10 DEL-6 DEL-7 GC-7 PARAM-2 PARAM-4 OLD-7 CODE-4]",
      async (command, env, msg) => {
        /* stdin is open and stays empty: who reads it before looking at the environment hangs. */
        const running = start({ plugin }, { CNI_COMMAND: command, ...env });
        const result = await running.done;
        expect(result.exitCode, result.stdout).toBe(1);
        const error = JSON.parse(result.stdout) as Record<string, unknown>;
        expect(error).toMatchObject({ code: 4, msg, cniVersion: "1.1.0" });
        if (!msg.startsWith("required")) expect(error.details).toContain(`wrong variable ${Object.keys(env)[0]}`);

        const reference = referenceOf(plugin);
        if (reference === null || command === "GC" || command === "STATUS") return;
        /* Older releases of the reference look at what is malformed last of all: there, nothing else is wrong. */
        const complete = { CNI_CONTAINERID: "a", CNI_NETNS: "/x", CNI_IFNAME: "eth0", CNI_PATH: "/x" };
        const config = validConfig(plugin, "1.0.0", sandbox);
        const others = msg.startsWith("required") ? env : { ...complete, ...env };
        const other = await call({ plugin: reference, path: null, command, env: others, config });
        expect({ code: other.json?.code, msg: other.json?.msg }).toEqual({ code: 4, msg });
      },
    );
  });

  describe("then the configuration, before the verb is looked at", () => {
    test.each([
      ["", 6, /^error unmarshall network config: unexpected end of JSON input$/],
      ["{", 6, /^error unmarshall network config: unexpected end of JSON input$/],
      ["x", 6, /^error unmarshall network config: invalid character 'x'/],
      ["{}{}", 6, /^error unmarshall network config: invalid character '\{' after/],
      ["[]", 6, /^error unmarshall network config: /],
      ['"text"', 6, /^error unmarshall network config: /],
      ["{}", 7, /^missing network name$/],
      ['{"cniVersion":"9.8.7"}', 7, /^missing network name$/],
      ['{"name":""}', 7, /^missing network name$/],
      ['{"name":"a b"}', 7, /^invalid characters found in network name$/],
      ['{"name":"-a"}', 7, /^invalid characters found in network name$/],
      ['{"name":"../x"}', 7, /^invalid characters found in network name$/],
    ] as const)("%j: code %d [CONF-5]", async (stdin, code, msg) => {
      for (const command of [...COMMANDS, "NONSENSE"]) {
        expectError(await sandbox.call({ ...validCall(plugin, command, sandbox, pod), stdin }), { code, msg });
      }
      const reference = referenceOf(plugin);
      if (reference === null) return;
      const other = await sandbox.call({ ...validCall(plugin, "ADD", sandbox, pod), plugin: reference, stdin });
      expect(other.json?.code).toBe(code);
      /* Where in the text the error is, and how it is worded after the prefix, is our own. */
      expect(String(other.json?.msg).split(":")[0]).toMatch(code === 6 ? /^error unmarshall network config/ : msg);
    });

    test("a name of the wrong type is named", async () => {
      for (const value of [5, true, {}, []]) {
        const result = await sandbox.call({ ...validCall(plugin, "ADD", sandbox, pod), config: { name: value } });
        expectError(result, { code: 7, msg: /^invalid value for "name": expected a string/ });
      }
    });
  });

  describe("then the verb", () => {
    test.each(["NONSENSE", "add", "UPDATE", "ADD ", "x".repeat(10_000)])("%j is unknown [PARAM-1]", async (command) => {
      const result = await sandbox.call({ ...validCall(plugin, command, sandbox, pod) });
      expectError(result, { code: 4, msg: `unknown CNI_COMMAND: ${command.slice(0, 80)}`, cniVersion: "1.1.0" });
      const reference = referenceOf(plugin);
      if (reference === null || command.length > 80) return;
      const config = validConfig(plugin, "1.0.0", sandbox);
      const other = await sandbox.call({ ...validCall(plugin, command, sandbox, pod), plugin: reference, config });
      expect({ code: other.json?.code, msg: other.json?.msg }).toEqual({
        code: 4,
        msg: `unknown CNI_COMMAND: ${command}`,
      });
    });

    test("an unknown verb needs no variable and is told before a wrong version", async () => {
      const config = validConfig(plugin, "9.8.7", sandbox);
      const result = await sandbox.call({ plugin, command: "NONSENSE", path: null, config });
      expectError(result, { code: 4, msg: "unknown CNI_COMMAND: NONSENSE" });
    });
  });

  describe("then the version", () => {
    for (const version of [...VERSIONS, null]) {
      for (const command of ["CHECK", "GC", "STATUS"]) {
        const since = VERBS_SINCE[command] ?? "";
        const known = version ?? "0.1.0";
        if (VERSIONS.indexOf(known) >= VERSIONS.indexOf(since)) continue;
        test(`${command} does not exist in ${version ?? "a configuration without version"} [OLD-5]`, async () => {
          const config = validConfig(plugin, version, sandbox);
          const result = await sandbox.call({ ...validCall(plugin, command, sandbox, pod), config });
          expectError(result, { code: 1, msg: `config version does not allow ${command}`, cniVersion: known });
        });
      }
    }

    test.each(["9.8.7", "1.1.1", "0.0.1", "0.4", "1.0", "v1.0.0", "1.0.0 ", "abc", "1.0.0.0", "-1.0.0"])(
      "%j is not spoken [CODE-1]",
      async (version) => {
        const config = validConfig(plugin, version, sandbox);
        for (const command of ["ADD", "DEL"]) {
          const result = await sandbox.call({ ...validCall(plugin, command, sandbox, pod), config });
          const supported = VERSIONS.map((item) => `"${item}"`).join(" ");
          expectError(result, {
            code: 1,
            msg: "incompatible CNI versions",
            details: `config is "${version}", plugin supports [${supported}]`,
            cniVersion: "1.1.0",
          });
          const reference = referenceOf(plugin);
          if (reference === null) continue;
          const other = await sandbox.call({ ...validCall(plugin, command, sandbox, pod), plugin: reference, config });
          expect({ code: other.json?.code, msg: other.json?.msg }).toEqual({
            code: 1,
            msg: "incompatible CNI versions",
          });
        }
      },
    );

    test.each(["abc", "1.0.0.0", "1..0", "v1.0.0", "1.0.x"])(
      "%j cannot be compared: code 6 for CHECK",
      async (version) => {
        const config = validConfig(plugin, version, sandbox);
        for (const command of ["CHECK", "GC", "STATUS"]) {
          expectError(await sandbox.call({ ...validCall(plugin, command, sandbox, pod), config }), { code: 6 });
        }
        const reference = referenceOf(plugin);
        if (reference === null) return;
        const other = await sandbox.call({ ...validCall(plugin, "CHECK", sandbox, pod), plugin: reference, config });
        expect(other.json?.code).toBe(6);
      },
    );

    test("a version beyond ours is refused for CHECK, GC and STATUS too", async () => {
      const config = validConfig(plugin, "2.0.0", sandbox);
      for (const command of ["CHECK", "GC", "STATUS"]) {
        expectError(await sandbox.call({ ...validCall(plugin, command, sandbox, pod), config }), { code: 1 });
      }
    });
  });

  describe("an error object", () => {
    test.each(VERSIONS)("carries the configuration's version %s [ERROR-1 ERROR-2]", async (version) => {
      const config = { cniVersion: version, name: "a b" };
      const result = await sandbox.call({ ...validCall(plugin, "ADD", sandbox, pod), config });
      expectError(result, { code: 7, cniVersion: version });
    });

    test("carries 0.1.0 where the configuration has none, ours where it cannot be read", async () => {
      const base = validCall(plugin, "ADD", sandbox, pod);
      expectError(await sandbox.call({ ...base, config: { name: "a b" } }), { code: 7, cniVersion: "0.1.0" });
      expectError(await sandbox.call({ ...base, config: { cniVersion: "", name: "a b" } }), {
        code: 7,
        cniVersion: "0.1.0",
      });
      expectError(await sandbox.call({ ...base, stdin: '{"cniVersion":"0.4.0",' }), { code: 6, cniVersion: "1.1.0" });
    });
  });

  test("none of it changed anything", async () => {
    expect(await traces(sandbox, pod)).toEqual(untouched);
  });
});

describe("keys", () => {
  const ipam = (text: string): string => `{"cniVersion":"1.0.0","name":"keys","type":"host-local",${text}}`;
  const add = async (text: string, containerId: string) =>
    sandbox.call({
      plugin: "host-local",
      command: "ADD",
      containerId,
      netns: pod.path,
      ifname: "eth0",
      stdin: ipam(text),
    });

  test("match in any case", async () => {
    const dataDir = JSON.stringify(sandbox.dataDir);
    const result = await add(`"IPAM":{"Type":"host-local","SUBNET":"10.9.1.0/24","DATADIR":${dataDir}}`, "case");
    expect(expectSuccess(result)).toMatchObject({ ips: [{ address: "10.9.1.2/24", gateway: "10.9.1.1" }] });
  });

  test("the last of two counts", async () => {
    const dataDir = JSON.stringify(sandbox.dataDir);
    const result = await add(
      `"ipam":{"type":"host-local","subnet":"10.9.2.0/24","subnet":"10.9.3.0/24","dataDir":${dataDir}}`,
      "twice",
    );
    expect(expectSuccess(result)).toMatchObject({ ips: [{ address: "10.9.3.2/24" }] });
  });

  test("null leaves the default", async () => {
    const dataDir = JSON.stringify(sandbox.dataDir);
    const result = await add(
      `"prevResult":null,"ipam":{"type":"host-local","subnet":"10.9.4.0/24","rangeStart":null,"gateway":null,"routes":null,"dataDir":${dataDir}}`,
      "null",
    );
    expect(expectSuccess(result)).toMatchObject({ ips: [{ address: "10.9.4.2/24", gateway: "10.9.4.1" }] });
  });

  test("unknown ones are passed over", async () => {
    const dataDir = JSON.stringify(sandbox.dataDir);
    const result = await add(
      `"plugins":[1],"x":{"y":null},"ipam":{"type":"host-local","subnet":"10.9.5.0/24","more":{},"dataDir":${dataDir}}`,
      "unknown",
    );
    expect(expectSuccess(result)).toMatchObject({ ips: [{ address: "10.9.5.2/24" }] });
  });

  test.each([
    ["host-local", '"ipam":5', "ipam"],
    ["host-local", '"ipam":{"type":"host-local","subnet":5}', "ipam.subnet"],
    ["host-local", '"ipam":{"type":"host-local","ranges":{}}', "ipam.ranges"],
    ["host-local", '"ipam":{"type":"host-local","ranges":[[{"subnet":true}]]}', "ipam.ranges[0][0].subnet"],
    ["host-local", '"ipam":{"type":"host-local","subnet":"10.9.6.0/24","routes":[{"dst":1}]}', "ipam.routes[0].dst"],
    ["host-local", '"ipam":{"type":"host-local","subnet":"10.9.6.0/24","dataDir":[]}', "ipam.dataDir"],
    ["host-local", '"runtimeConfig":5,"ipam":{"type":"host-local","subnet":"10.9.6.0/24"}', "runtimeConfig"],
    ["host-local", '"args":{"cni":{"ips":"x"}},"ipam":{"type":"host-local","subnet":"10.9.6.0/24"}', "args.cni.ips"],
    ["bridge", '"mtu":"1500"', "mtu"],
    ["bridge", '"MTU":"1500"', "mtu"],
    ["bridge", '"isGateway":"yes"', "isGateway"],
    ["bridge", '"ipMasq":1', "ipMasq"],
    ["bridge", '"bridge":7', "bridge"],
    ["bridge", '"vlan":"7"', "vlan"],
    ["bridge", '"vlanTrunk":[{"id":"7"}]', "vlanTrunk[0].id"],
    ["bridge", '"ipam":[]', "ipam"],
    ["bridge", '"runtimeConfig":{"mac":5}', "runtimeConfig.mac"],
    ["bridge", '"dns":{"nameservers":"1.1.1.1"}', "dns.nameservers"],
    ["vxlan-overlay", '"podCIDRs":"10.9.6.0/24"', "podCIDRs"],
    ["vxlan-overlay", '"podCIDRs":[5]', "podCIDRs[0]"],
    ["vxlan-overlay", '"podCIDRs":["10.9.6.0/24"],"peers":{}', "peers"],
    ["vxlan-overlay", '"podCIDRs":["10.9.6.0/24"],"peersFile":[]', "peersFile"],
    ["vxlan-overlay", '"podCIDRs":["10.9.6.0/24"],"peers":[],"vni":"1"', "vni"],
    ["vxlan-overlay", '"podCIDRs":["10.9.6.0/24"],"peers":[],"peersOnly":"no"', "peersOnly"],
    ["vxlan-overlay", '"podCIDRs":["10.9.6.0/24"],"peers":[],"delegate":"bridge"', "delegate"],
  ])("%s %s: code 7 and the field's path", async (plugin, text, path) => {
    const stdin = `{"cniVersion":"1.0.0","name":"keys","type":"${plugin}",${text}}`;
    const before = await traces(sandbox, pod);
    const result = await sandbox.call({
      plugin,
      command: "ADD",
      containerId: "types",
      netns: pod.path,
      ifname: "eth0",
      stdin,
    });
    expectError(result, { code: 7 });
    expect(String(result.json?.msg)).toContain(`"${path}"`);
    expect(await traces(sandbox, pod)).toEqual(before);
  });
});

test("the environment that a test gives is all a plugin sees", () => {
  expect(callEnvironment({ plugin: "x", command: "ADD", path: null }, "/bin")).toEqual({
    CNI_COMMAND: "ADD",
    PATH: "/usr/sbin:/usr/bin:/sbin:/bin",
  });
});
