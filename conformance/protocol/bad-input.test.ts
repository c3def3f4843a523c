/** Bad input of every kind: a clear error of the right code, soon, and nothing changed. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { call, expectError, expectSuccess, type Netns, Sandbox, withSandbox } from "../../testbed/harness.ts";
import { PLUGINS, traces, validCall, validConfig, withUnderlay } from "./fixtures.ts";

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

const COMMANDS = ["ADD", "CHECK", "DEL", "GC", "STATUS"];
const MIB = 1024 * 1024;
/* Everything a plugin does with bad input is over at once, also on a busy machine. */
const LIMIT_MS = 10_000;

/** A text as a test's name shows it. */
const named = (text: string): [string, string] => [
  text.length > 40 ? `of ${text.length} characters` : JSON.stringify(text),
  text,
];

/** Names of inputs, and the inputs: made when they are needed, some are large. */
const NOT_JSON: readonly (readonly [string, () => string | Uint8Array])[] = [
  ["nothing", () => ""],
  ["white space", () => " \n\t\r\n"],
  ["ten megabytes of white space", () => " ".repeat(10 * MIB)],
  ["ten megabytes of a string", () => `{"name":"${"x".repeat(10 * MIB)}"}`],
  ["ten megabytes of valid JSON", () => `{"name":"n","list":[${"1,".repeat(5 * MIB)}1]}`],
  ["ten megabytes of zeros", () => new Uint8Array(10 * MIB)],
  ["a million brackets", () => "[".repeat(1_000_000)],
  ["a million objects in each other", () => '{"a":'.repeat(700_000)],
  ["nested 100 levels", () => `{"name":"n","x":${"[".repeat(100)}${"]".repeat(100)}}`],
  ["NUL", () => "\u0000"],
  ["a NUL inside", () => '{"name":"n"\u0000}'],
  ["a NUL behind", () => '{"name":"n"}\u0000'],
  ["a control character in a string", () => '{"name":"n\u0001"}'],
  ["a byte order mark", () => '\ufeff{"name":"n"}'],
  ["UTF-16", () => Buffer.from('{"name":"n"}', "utf16le")],
  ["bytes that are no UTF-8", () => new Uint8Array([0xff, 0xfe, 0x80])],
  ["two documents", () => '{"name":"n"}{"name":"n"}'],
  ["a comment", () => '{"name":"n" /* x */}'],
  ["single quotes", () => "{'name':'n'}"],
  ["a trailing comma", () => '{"name":"n",}'],
  ["NaN", () => '{"name":"n","mtu":NaN}'],
  ["a number with a leading zero", () => '{"name":"n","mtu":01}'],
  ["half an escape", () => '{"name":"n\\u00"}'],
  ["a list", () => "[]"],
  ["text", () => '"name"'],
  ["a number", () => "1e999"],
  ["null", () => "null"],
];

describe.each(PLUGINS)("%s", (plugin) => {
  test.each(NOT_JSON)("%s: code 6 for every command [CODE-6]", async (_name, make) => {
    const stdin = make();
    for (const command of COMMANDS) {
      const result = await sandbox.call({ ...validCall(plugin, command, sandbox, pod), stdin, timeoutMs: LIMIT_MS });
      expectError(result, { code: 6, msg: /^error unmarshall network config: / });
    }
    expect(await traces(sandbox, pod)).toEqual(untouched);
  });

  test("a valid configuration cut off anywhere: code 6", async () => {
    const text = JSON.stringify({ ...validConfig(plugin, "1.1.0", sandbox), text: "é\\n\u{1f600}", number: -1.5e3 });
    const bytes = Buffer.from(text);
    for (let end = 0; end < bytes.length; end += 3) {
      const result = await sandbox.call({ ...validCall(plugin, "ADD", sandbox, pod), stdin: bytes.subarray(0, end) });
      expectError(result, { code: 6, msg: "error unmarshall network config: unexpected end of JSON input" });
    }
    expect(await traces(sandbox, pod)).toEqual(untouched);
  });

  test.each<[string, unknown]>([
    ["a number", 5],
    ["true", true],
    ["an object", {}],
    ["a list", ["n"]],
    ["a space", " "],
    ["a path", "../../etc"],
    ["a NUL", "n\u0000"],
    ["a control character", "n\u001b[2J"],
    ["a newline", "n\nx"],
    ["a leading dash", "-n"],
    ["a letter outside ASCII", "né"],
    ["300 characters", "x".repeat(300)],
    ["a million characters", "x".repeat(1_000_000)],
  ])("a name that is %s: code 7 [CONF-5 CODE-7]", async (_name, name) => {
    for (const command of COMMANDS) {
      const config = { ...validConfig(plugin, "1.1.0", sandbox), name };
      const result = await sandbox.call({ ...validCall(plugin, command, sandbox, pod), config });
      expectError(result, { code: 7, cniVersion: "1.1.0" });
      expect(result.stdout.length).toBeLessThan(2000);
    }
    expect(await traces(sandbox, pod)).toEqual(untouched);
  });

  test.each<[string, unknown]>([
    ["a number", 1],
    ["a list", ["1.1.0"]],
    ["an object", {}],
  ])("a cniVersion that is %s: code 7 and its name", async (_name, cniVersion) => {
    const config = { ...validConfig(plugin, null, sandbox), cniVersion };
    const result = await sandbox.call({ ...validCall(plugin, "ADD", sandbox, pod), config });
    expectError(result, { code: 7, msg: /"cniVersion"/ });
    expect(await traces(sandbox, pod)).toEqual(untouched);
  });

  test.each([
    ...["x".repeat(300), "x".repeat(100_000), "a\nb", "é"].map((text) => ["containerId", ...named(text)] as const),
    ...["x".repeat(100_000), "a\u0001"].map((text) => ["ifname", ...named(text)] as const),
  ])("%s %s: code 4", async (key, _name, value) => {
    for (const command of ["ADD", "CHECK", "DEL"]) {
      const result = await sandbox.call({ ...validCall(plugin, command, sandbox, pod), [key]: value });
      expectError(result, { code: 4 });
      expect(result.stdout.length).toBeLessThan(2000);
    }
    expect(await traces(sandbox, pod)).toEqual(untouched);
  });

  test("VERSION answers whatever else is wrong", async () => {
    const result = await call({
      plugin,
      command: "VERSION",
      containerId: "../..",
      ifname: "x".repeat(1000),
      netns: "/nowhere",
      args: ";;;",
      path: null,
      stdin: "\u0000".repeat(MIB),
    });
    expect(expectSuccess(result)).toHaveProperty("supportedVersions");
  });

  test("a GC for 20,000 attachments is no bad input", () =>
    withSandbox(async (own) => {
      await withUnderlay(own.host);
      const attachments = Array.from({ length: 20_000 }, (_item, i) => ({
        containerID: i.toString(16).padStart(64, "0"),
        ifname: "eth0",
      }));
      const config = { ...validConfig(plugin, "1.1.0", own), "cni.dev/valid-attachments": attachments };
      const result = await own.call({ ...validCall(plugin, "GC", own, pod), config, timeoutMs: LIMIT_MS });
      expect(result, result.stdout).toMatchObject({ exitCode: 0, stdout: "" });
    }));
});

describe.each(["bridge", "loopback", "vxlan-overlay"] as const)("%s: absurd CNI_NETNS", (plugin) => {
  test.each([
    ["10,000 characters", `/${"x".repeat(10_000)}`],
    ["100,000 characters", "/x".repeat(50_000)],
    ["a relative path", "no/such/file"],
    ["control characters", "/run/\u0001\u001b[2J"],
    ["a newline", "/run/netns/a\nb"],
    ["a path through a file", "/dev/null/x"],
    ["memory of the process", "/proc/self/mem"],
    ["a terminal", "/dev/ptmx"],
    ["no path at all", "%s%n"],
  ])("%s: ADD fails with code 8, DEL succeeds", async (_name, netns) => {
    const added = await sandbox.call({ ...validCall(plugin, "ADD", sandbox, pod), netns, timeoutMs: 5000 });
    expectError(added, { code: 8 });
    expect(added.stdout.length).toBeLessThan(2000);
    const deleted = await sandbox.call({ ...validCall(plugin, "DEL", sandbox, pod), netns, timeoutMs: 5000 });
    expect(deleted, deleted.stdout).toMatchObject({ exitCode: 0, stdout: "" });
    expect(await traces(sandbox, pod)).toEqual(untouched);
  });
});

describe("values out of all proportion", () => {
  const NUMBERS = [
    "-1",
    "1e3",
    "1.5",
    "1E400",
    "99999",
    "4294967296",
    "9007199254740993",
    "18446744073709551616",
    "1".repeat(1000),
  ];

  test.each(["mtu", "vlan"])("bridge %s: code 7 and its name", async (key) => {
    for (const number of NUMBERS) {
      const text = JSON.stringify(validConfig("bridge", "1.1.0", sandbox)).replace("{", `{"${key}":${number},`);
      const result = await sandbox.call({ ...validCall("bridge", "ADD", sandbox, pod), stdin: text });
      expectError(result, { code: 7 });
      expect(`${result.json?.msg}`.toLowerCase(), number).toContain(key);
      expect(result.stdout.length).toBeLessThan(2000);
    }
    expect(await traces(sandbox, pod)).toEqual(untouched);
  });

  test.each(
    ["x".repeat(16), "a/b", "a b", "..", ".", "a\u0000b", "a:b", "é".repeat(8), "x".repeat(100_000)].map(named),
  )("a bridge named %s", async (_name, name) => {
    const config = { ...validConfig("bridge", "1.1.0", sandbox), bridge: name };
    const result = await sandbox.call({ ...validCall("bridge", "ADD", sandbox, pod), config });
    expectError(result, { code: 7 });
    expect(result.stdout.length).toBeLessThan(2000);
    expect(await traces(sandbox, pod)).toEqual(untouched);
  });

  test.each(
    [
      "",
      "x",
      "10.0.0.0",
      "10.0.0.0/",
      "10.0.0.0/33",
      "10.0.0.5/24",
      "10.0.0.1/31",
      "::/129",
      "10.0.0.0/-1",
      "1.2.3.4/24\u0000",
      "x".repeat(100_000),
    ].map(named),
  )("a subnet %s", async (_name, subnet) => {
    const config = {
      ...validConfig("host-local", "1.1.0", sandbox),
      ipam: { type: "host-local", subnet, dataDir: sandbox.dataDir },
    };
    const result = await sandbox.call({ ...validCall("host-local", "ADD", sandbox, pod), config });
    expectError(result, { code: 7 });
    expect(result.stdout.length).toBeLessThan(2000);
    expect(await traces(sandbox, pod)).toEqual(untouched);
  });

  test.each(
    [";", "IP", "IP=x", "IP=1=2", "=", "IP=10.123.0.5;", "X=1", "IP=\u0001", `IP=${"1".repeat(100_000)}`].map(named),
  )("CNI_ARGS %s for host-local: an error, no lease [PARAM-5]", async (_name, args) => {
    const result = await sandbox.call({ ...validCall("host-local", "ADD", sandbox, pod), args });
    expect(result.exitCode, result.stdout).toBe(1);
    expect([4, 7]).toContain(result.json?.code);
    expect(result.stdout.length).toBeLessThan(2000);
    expect(await traces(sandbox, pod)).toEqual(untouched);
  });

  test.each([
    ...["10.1.2.3/24", "a b", "..", "a*b", "é".repeat(8), "x".repeat(100_000)].map(
      (name) => [...named(name), ""] as const,
    ),
    ["eth0 of a container", "eth0", "/run/netns/a"] as const,
  ])("firewall with a policy, behind an interface %s: code 7, and nothing is filtered", (_name, name, inside) =>
    withSandbox(async (own) => {
      const inner = inside === "" ? {} : { sandbox: inside };
      const prevResult = { cniVersion: "1.0.0", interfaces: [{ name, ...inner }], ips: [{ address: "10.123.0.9/24" }] };
      const config = { ...validConfig("firewall", "1.0.0", own), ingressPolicy: "same-bridge", prevResult };
      for (const command of ["ADD", "CHECK"]) {
        const result = await own.call({ ...validCall("firewall", command, own, pod), config });
        expectError(result, { code: 7, msg: /interface/ });
        expect(result.stdout.length).toBeLessThan(2000);
      }
      expect(await own.host.exec("nft", ["list", "tables"])).toBe("");
    }),
  );

  test.each(["/proc/self/environ", "/dev/null", "/proc/no/such", `/${"x".repeat(10_000)}`, "/tmp/\u0000x"].map(named))(
    "a dataDir %s: an error, and soon",
    async (_name, dataDir) => {
      const config = {
        ...validConfig("host-local", "1.1.0", sandbox),
        ipam: { type: "host-local", subnet: "10.123.0.0/24", dataDir },
      };
      const call = { ...validCall("host-local", "ADD", sandbox, pod), config, timeoutMs: LIMIT_MS };
      const result = await sandbox.call(call);
      expect(result.exitCode, result.stdout).toBe(1);
      expect([5, 7]).toContain(result.json?.code);
      expect(await traces(sandbox, pod)).toEqual(untouched);
    },
  );
});
