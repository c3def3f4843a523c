/** Plugins that somebody runs by hand, with arguments, or under another name. */
import { copyFile, link, mkdir, mkdtemp, readFile, rm, symlink } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import {
  binDirectory,
  call,
  expectError,
  expectSuccess,
  repository,
  VERSIONS,
  withSandbox,
} from "../../testbed/harness.ts";
import { PLUGINS, referenceOf, SUBNET, start, validCall, validConfig } from "./fixtures.ts";

const { version } = JSON.parse(await readFile(join(repository, "package.json"), "utf8")) as { version: string };
const REPAIRS = ["bridge", "firewall", "portmap", "ptp", "vxlan-overlay"];

/** How programs in the field find a version in what a plugin prints when it is run by hand; stdout and stderr are one. */
const READERS: readonly (readonly [string, (text: string) => string | undefined])[] = [
  [
    "the first word that is a version (Nomad)",
    (text) => text.split(/\s+/).find((word) => /^v?\d+(\.\d+)*$/.test(word)),
  ],
  ["the last word of the first line", (text) => text.split("\n")[0]?.split(" ").at(-1)],
  ["the fourth word", (text) => text.split("\n")[0]?.split(" ")[3]],
  ['what stands behind " v" in the line with "plugin"', (text) => /plugin v(.*)$/m.exec(text)?.[1]],
  ["the first three numbers with dots", (text) => /\d+\.\d+\.\d+/.exec(text)?.[0]],
  ['the first three numbers behind a "v"', (text) => /v\d+\.\d+\.\d+/.exec(text)?.[0]],
];

/** Whether a version is another's or a later one, as "semver >=" has it. */
function reaches(found: string, wanted: string): boolean {
  const numbers = (text: string): number[] => text.replace(/^v/, "").split(".").map(Number);
  const [left, right] = [numbers(found), numbers(wanted)];
  const at = left.findIndex((number, index) => number !== right[index]);
  return at < 0 || (left[at] ?? 0) > (right[at] ?? 0);
}

describe.each(PLUGINS)("%s by hand", (plugin) => {
  const about = (text: string): void => {
    const lines = text.split("\n");
    expect(lines.slice(0, 2)).toEqual([
      `CNI ${plugin} plugin v${version}`,
      `CNI protocol versions supported: ${VERSIONS.join(", ")}`,
    ]);
    expect(lines.slice(2)).toEqual([`Podwire; "${plugin} --help" prints more`, ""]);
  };

  test.each([{}, { command: "" }, ...["version", "--version", "-v"].map((word) => ({ words: [word] }))])(
    "tells on stderr what it is: %j",
    async (options) => {
      const result = await call({ plugin, path: null, ...options });
      expect(result).toMatchObject({ exitCode: 0, stdout: "" });
      about(result.stderr);
    },
  );

  test("does so without waiting for stdin", async () => {
    const running = start({ plugin }, {});
    expect(await running.done).toMatchObject({ exitCode: 0, stdout: "" });
  });

  test.each(READERS)("%s is a version later than any of the reference's", async (_name, reader) => {
    const { stderr } = await call({ plugin, path: null });
    const found = reader(stderr) ?? "";
    expect(found.replace(/^v/, "")).toBe(version);
    for (const wanted of ["0.4.0", "1.2.0", "1.9.1"]) expect(reaches(found, wanted)).toBe(true);
  });

  test("the first line has the words of the reference's, one by one", async (ctx) => {
    const reference = referenceOf(plugin);
    if (reference === null) ctx.skip("the reference has no such plugin here");
    const other = await call({ plugin: reference ?? "", path: null });
    expect(other.stdout).toBe("");
    /* Debian's builds have no version: "CNI bridge plugin version unknown". */
    const ours = (await call({ plugin, path: null })).stderr;
    expect(ours.split(" ").slice(0, 3)).toEqual(other.stderr.split(" ").slice(0, 3));
  });

  test.each([["add"], ["-x", "y"], ["vlan", "show"], ["--versions"]])(
    "an unknown argument is named behind that: %j",
    async (...words) => {
      const result = await call({ plugin, path: null, words });
      expect(result).toMatchObject({ exitCode: 0, stdout: "" });
      const lines = result.stderr.split("\n");
      expect(lines.splice(3, 1)).toEqual([`${plugin}: unknown argument "${words[0]}" is ignored`]);
      about(lines.join("\n"));
    },
  );

  test.each(["--help", "-h", "help"])("%s: tells on stdout what a person can ask of it", async (word) => {
    const result = await call({ plugin, path: null, words: [word] });
    expect(result).toMatchObject({ exitCode: 0, stderr: "" });
    expect(result.stdout).toContain(`CNI ${plugin} plugin v${version}\n`);
    expect(result.stdout).toContain(`${plugin} --version`);
    expect(result.stdout.includes(`${plugin} repair`)).toBe(REPAIRS.includes(plugin));
  });

  test("repair where nothing can be repaired is an error", async () => {
    if (REPAIRS.includes(plugin)) return;
    const result = await call({ plugin, path: null, words: ["repair"] });
    expectError(result, { code: 4, msg: `${plugin} has nothing to repair` });
  });

  test.each(["repair", "--help", "--version", "version", "-v", "x"])(
    "with CNI_COMMAND set the argument %s means nothing",
    async (word) => {
      const result = await call({ plugin, command: "VERSION", path: null, words: [word, "y"] });
      expect(result).toMatchObject({ exitCode: 0, stderr: "" });
      expect(result.json).toEqual({ cniVersion: "1.1.0", supportedVersions: VERSIONS });
      const failed = await call({ plugin, command: "ADD", path: null, words: [word] });
      expectError(failed, { code: 4, msg: /^required env variables/ });
    },
  );
});

describe("under another name", () => {
  let directory = "";

  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), "pwt-names-"));
  });

  afterEach(() => rm(directory, { recursive: true, force: true }));

  const version11 = { exitCode: 0, json: { cniVersion: "1.1.0", supportedVersions: VERSIONS } };
  const isPlugin = async (file: string, plugin: string): Promise<void> => {
    expect((await call({ plugin: file, path: null })).stderr).toMatch(new RegExp(`^CNI ${plugin} plugin v`));
    expect(await call({ plugin: file, command: "VERSION", path: null })).toMatchObject(version11);
  };

  test.each(
    PLUGINS.flatMap((plugin) =>
      [`buildkit-cni-${plugin}`, `cnv_${plugin}`, `${plugin}-v2`, `a.${plugin}.b`].map((name) => [name, plugin]),
    ),
  )("%s is %s, as a copy, a hard link and a symbolic link", async (name, plugin) => {
    const file = join(directory, name);
    for (const make of [copyFile, link, symlink]) {
      await make(join(binDirectory, plugin), file);
      await isPlugin(file, plugin);
      await rm(file);
    }
  });

  test("a symbolic link of any name is what it leads to", async () => {
    await symlink(join(binDirectory, "portmap"), join(directory, "anything"));
    await isPlugin(join(directory, "anything"), "portmap");
    await copyFile(join(binDirectory, "portmap"), join(directory, "cnv-portmap"));
    await symlink(join(directory, "cnv-portmap"), join(directory, "whatever"));
    await isPlugin(join(directory, "whatever"), "portmap");
    await symlink(join(directory, "cnv-portmap"), join(directory, "bridge"));
    await isPlugin(join(directory, "bridge"), "bridge");
  });

  test.each([
    ["podwire", /^started as "podwire", which names no plugin of Podwire$/],
    ["cnibridge", /which names no plugin/],
    ["bridge2", /which names no plugin/],
    ["bridge-portmap", /^started as "bridge-portmap", which names several plugins of Podwire: bridge, portmap$/],
  ])("a copy as %s: code 4", async (name, msg) => {
    const file = join(directory, name);
    await copyFile(join(binDirectory, "bridge"), file);
    for (const command of ["ADD", "VERSION", undefined]) {
      expectError(await call({ plugin: file, path: null, ...(command === undefined ? {} : { command }) }), {
        code: 4,
        msg,
        details: /bandwidth, bridge, firewall, host-local, loopback, portmap, ptp, static, tuning, vxlan-overlay$/,
      });
    }
  });

  test("a link whose name says another plugin than its target: code 4", async () => {
    await symlink(join(binDirectory, "bridge"), join(directory, "cnv-portmap"));
    const result = await call({ plugin: join(directory, "cnv-portmap"), command: "VERSION", path: null });
    expectError(result, { code: 4, msg: /"cnv-portmap", a link to "bridge", which names several/ });
  });

  test.each([
    ["hard links of one file", link],
    ["copies", copyFile],
    ["symbolic links", symlink],
  ] as const)("bridge and its IPAM as %s with a prefix work, and neither calls itself", (_name, make) =>
    withSandbox(async (sandbox) => {
      const bin = join(directory, "bin");
      await mkdir(bin);
      for (const plugin of ["bridge", "host-local"]) {
        await make(join(binDirectory, plugin), join(bin, `buildkit-cni-${plugin}`));
      }
      const pod = await sandbox.pod();
      const ipam = { type: "buildkit-cni-host-local", subnet: SUBNET, dataDir: sandbox.dataDir };
      const config = { ...validConfig("bridge", "1.0.0", sandbox), type: "buildkit-cni-bridge", ipam };
      const valid = { ...validCall("bridge", "ADD", sandbox, pod), plugin: "buildkit-cni-bridge", bin };
      const added = expectSuccess(await sandbox.call({ ...valid, config }));
      expect(added).toMatchObject({ ips: [{ address: "10.123.0.2/24" }] });
      const prevResult = added;
      expectSuccess(await sandbox.call({ ...valid, command: "CHECK", config: { ...config, prevResult } }));
      expectSuccess(await sandbox.call({ ...valid, command: "DEL", config }));
      expect(await pod.links()).not.toContain("eth0");

      const itself = { ...config, ipam: { type: "buildkit-cni-bridge" } };
      const msg = "plugin buildkit-cni-bridge cannot delegate to itself";
      expectError(await sandbox.call({ ...valid, config: itself }), { code: 7, msg });
    }),
  );
});
