/** `podwire-install`, as the image's entry point calls it: on a node's directory, among foreign and hostile files, killed. */
import { chmod, copyFile, mkdir, mkdtemp, readdir, readFile, rm, stat, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { execa } from "execa";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { binDirectory, call, repository } from "../../testbed/harness.ts";

const TEMPLATE = {
  cniVersion: "1.0.0",
  name: "pods",
  plugins: [{ type: "bridge", ipam: { type: "host-local", ranges: "$RANGES" } }],
};

let root = "";
let installer = "";
let bin = "";
let conf = "";
let template = "";
let names: string[] = [];

beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), "podwire-installer-"));
  [installer, bin, conf, template] = ["podwire-install", "bin", "net.d", "template"].map((name) =>
    join(root, name),
  ) as [string, string, string, string];
  await copyFile(join(binDirectory, "bridge"), installer);
  await mkdir(bin);
  await mkdir(conf);
  await writeFile(template, JSON.stringify(TEMPLATE));
  const make = { cwd: repository, env: { MAKEFLAGS: "", MAKELEVEL: "", MFLAGS: "" } };
  names = (await execa("make", ["-s", "plugins"], make)).stdout.trim().split(" ");
});

afterEach(() => rm(root, { recursive: true, force: true }));

function run(list: readonly string[], env: Record<string, string> = {}) {
  return execa(installer, list, { env, extendEnv: false, reject: false, timeout: 30_000 });
}

async function good(...list: string[]): Promise<string> {
  const result = await run(list);
  expect(result.exitCode, result.stderr).toBe(0);
  return result.stdout;
}

async function refused(...list: string[]): Promise<string> {
  const result = await run(list);
  expect(result.exitCode, result.stdout).toBe(1);
  return result.stderr;
}

/** A template with the node's subnets into the directory for configurations. */
function withList(subnets: string): string[] {
  return ["--bin-dir", bin, "--conf-dir", conf, "--template", template, "--ranges", subnets];
}

async function versions(): Promise<void> {
  for (const plugin of names) {
    const result = await call({ plugin, command: "VERSION", bin });
    expect(result.json, result.stderr).toMatchObject({ cniVersion: "1.1.0" });
  }
}

describe("installs", () => {
  test("every plugin as a hard link of one file, beside those of others", async () => {
    await writeFile(join(bin, "foreign"), "another project's", { mode: 0o755 });
    await writeFile(join(bin, "bridge"), "the plugin that was here before", { mode: 0o755 });
    expect(await good("--bin-dir", bin)).toContain(`is in ${bin}: ${names.join(", ")}`);
    expect((await readdir(bin)).sort()).toEqual([...names, "foreign"].sort());
    const files = await Promise.all(names.map((name) => stat(join(bin, name))));
    expect(new Set(files.map((file) => file.ino)).size).toBe(1);
    expect(files.map((file) => [file.nlink, file.mode & 0o7777])).toEqual(names.map(() => [names.length, 0o755]));
    expect(await readFile(join(bin, "foreign"), "utf8")).toBe("another project's");
    await versions();
  });

  test("into a directory that others can write in, but not without saying so", async () => {
    expect((await run(withList("10.1.0.0/24"))).stderr).toBe("");
    for (const path of [bin, conf]) {
      await chmod(path, 0o777);
      const { exitCode, stderr } = await run(withList("10.1.0.0/24"));
      expect(exitCode).toBe(0);
      expect(stderr).toContain(`${path}: it belongs to user 0 and has mode 00777: whoever can write there`);
      await chmod(path, 0o755);
    }
  });

  test("with 0755 whatever the umask", async () => {
    const result = await execa("sh", ["-c", 'umask 077; exec "$@"', "sh", installer, ...withList("10.1.0.0/24")]);
    expect(result.exitCode).toBe(0);
    expect((await stat(join(bin, "bridge"))).mode & 0o7777).toBe(0o755);
    expect((await stat(join(conf, "10-podwire.conflist"))).mode & 0o7777).toBe(0o644);
  });

  test("over plugins that are running", async () => {
    await good("--bin-dir", bin);
    const env = { CNI_COMMAND: "DEL", CNI_CONTAINERID: "x", CNI_IFNAME: "lo", CNI_PATH: bin };
    const running = execa(join(bin, "loopback"), { env, extendEnv: false, stdin: "pipe", reject: false });
    await expect.poll(() => readFile(`/proc/${running.pid}/comm`, "utf8")).toBe("loopback\n");
    await good("--bin-dir", bin);
    running.stdin.end(JSON.stringify({ cniVersion: "1.1.0", name: "lo", type: "loopback" }));
    expect((await running).exitCode).toBe(0);
  });

  test("a list for this node, from a table of all nodes and by environment variables", async () => {
    const nodes = join(root, "nodes");
    await writeFile(nodes, "worker2 10.244.2.0/24\nworker 10.244.1.0/24,fd00:1::/64\n");
    const env = { PODWIRE_BIN_DIR: bin, PODWIRE_CONF_DIR: conf, PODWIRE_TEMPLATE: template };
    const result = await run([], { ...env, PODWIRE_NODES: nodes, PODWIRE_NODE: "worker" });
    expect(result.exitCode, result.stderr).toBe(0);
    expect(JSON.parse(await readFile(join(conf, "10-podwire.conflist"), "utf8"))).toMatchObject({
      name: "pods",
      plugins: [{ ipam: { ranges: [[{ subnet: "10.244.1.0/24" }], [{ subnet: "fd00:1::/64" }]] } }],
    });
    const other = await run([], { ...env, PODWIRE_NODES: nodes, PODWIRE_NODE: "worker3" });
    expect(other.stderr).toContain('the table of nodes has no node "worker3"');
  });

  test("many at once, and a call at any moment finds a whole plugin", async () => {
    await good("--bin-dir", bin);
    let installing = true;
    const installations = Promise.all(Array.from({ length: 20 }, () => good(...withList("10.1.0.0/24")))).then(() => {
      installing = false;
    });
    while (installing) await versions();
    await installations;
    expect((await readdir(bin)).sort()).toEqual(names);
    expect(await readdir(conf)).toEqual(["10-podwire.conflist"]);
  });

  test("and sleeps until it is told to end, if asked to", async () => {
    const running = execa(installer, ["--bin-dir", bin, "--wait"], { reject: false });
    await expect.poll(() => readdir(bin)).toEqual(names);
    await expect.poll(() => readFile(`/proc/${running.pid}/wchan`, "utf8")).toContain("sigtimedwait");
    const status = await readFile(`/proc/${running.pid}/status`, "utf8");
    expect(Number(/VmRSS:\s+(\d+) kB/.exec(status)?.[1]), "kB of memory").toBeLessThan(2000);
    running.kill("SIGTERM");
    expect((await running).exitCode).toBe(0);
  });
});

describe("uninstalls", () => {
  test("what is Podwire's and nothing else", async () => {
    await good(...withList("10.1.0.0/24"));
    /* Somebody has put other plugins in place of two since: a file, and a link that even leads to Podwire. */
    await rm(join(bin, "portmap"));
    await writeFile(join(bin, "portmap"), "another project's", { mode: 0o755 });
    await rm(join(bin, "loopback"));
    await symlink("bridge", join(bin, "loopback"));
    await writeFile(join(bin, "dhcp"), "another project's", { mode: 0o755 });
    await writeFile(join(conf, "87-podman.conflist"), "{}");
    const printed = await good("--bin-dir", bin, "--conf-dir", conf, "--uninstall");
    expect(printed).toContain(`removed ${conf}/10-podwire.conflist`);
    expect((await readdir(bin)).sort()).toEqual(["dhcp", "loopback", "portmap"]);
    expect(await readdir(conf)).toEqual(["87-podman.conflist"]);
    expect(await good("--bin-dir", bin, "--conf-dir", conf, "--uninstall")).toContain(`removed from ${bin}: nothing`);
  });

  test("plugins that make install or an archive has put there", async () => {
    await execa(join(repository, "hack/install.sh"), [binDirectory, bin, ...names]);
    await good("--bin-dir", bin, "--uninstall");
    expect(await readdir(bin)).toEqual([]);
  });
});

describe("refuses", () => {
  test("a directory that is not mounted", async () => {
    expect(await refused("--bin-dir", join(root, "host/opt/cni/bin"))).toContain("does not exist");
    expect(await readdir(root)).not.toContain("host");
  });

  test("symbolic links, wherever in the path", async () => {
    await mkdir(join(root, "elsewhere/bin"), { recursive: true });
    await symlink("elsewhere", join(root, "opt"));
    await symlink("bin", join(root, "link"));
    expect(await refused("--bin-dir", join(root, "opt/bin"))).toContain('at "opt": is a symbolic link');
    expect(await refused("--bin-dir", join(root, "link"))).toContain('at "link": is a symbolic link');
    expect(await readdir(join(root, "elsewhere/bin"))).toEqual([]);
    expect(await readdir(bin)).toEqual([]);
  });

  test("to write through links that somebody has planted", async () => {
    const victim = join(root, "victim");
    await writeFile(victim, "untouched");
    for (const name of [".podwire-install.new", ".podwire-install.link", "bridge"])
      await symlink(victim, join(bin, name));
    await symlink(victim, join(conf, ".podwire-install.new"));
    await good(...withList("10.1.0.0/24"));
    expect(await readFile(victim, "utf8")).toBe("untouched");
    expect((await readdir(bin)).sort()).toEqual(names);
    await rm(join(conf, "10-podwire.conflist"));
    await symlink(victim, join(conf, "10-podwire.conflist"));
    expect(await refused(...withList("10.1.0.0/24"))).toContain("was not written by podwire-install");
    expect(await readFile(victim, "utf8")).toBe("untouched");
  });

  test("to replace or remove a list that somebody else has written", async () => {
    const path = join(conf, "10-podwire.conflist");
    await writeFile(path, '{"name":"mine"}');
    expect(await refused(...withList("10.1.0.0/24"))).toContain("was not written by podwire-install");
    await good("--bin-dir", bin, "--conf-dir", conf, "--uninstall");
    expect(await readFile(path, "utf8")).toBe('{"name":"mine"}');
  });

  test("wrong subnets, before anything is changed", async () => {
    expect(await refused(...withList("10.1.0.5/24"))).toContain("is no subnet");
    expect(await refused(...withList("10.1.0.0/24,10.1.0.0/25"))).toContain("overlap");
    expect([await readdir(bin), await readdir(conf)]).toEqual([[], []]);
  });

  test("to stop halfway silently: a name that is a directory", async () => {
    await mkdir(join(bin, "host-local"));
    await writeFile(join(bin, "host-local/file"), "");
    expect(await refused("--bin-dir", bin)).toMatch(/replace host-local/);
    expect((await readdir(bin)).filter((name) => name.startsWith("."))).toEqual([]);
  });
});

describe("killed, or failing, at every system call", () => {
  /** Runs the installer with a fault at its n-th call of a kind; returns whether it came to that. */
  async function withFault(fault: string, calls: string, n: number): Promise<boolean> {
    const log = join(root, "trace");
    const strace = ["-o", log, "-e", `trace=${calls}`, "-e", `inject=${calls}:${fault}:when=${n}`];
    await execa("strace", [...strace, installer, ...withList("10.1.0.0/24")], { reject: false, timeout: 30_000 });
    return /INJECTED|killed by SIGKILL/.test(await readFile(log, "utf8"));
  }

  /** Every name is a whole plugin, the old or the new; the list is whole too; the next run leaves nothing of the last. */
  async function isWhole(): Promise<void> {
    await versions();
    JSON.parse(await readFile(join(conf, "10-podwire.conflist"), "utf8"));
    await good(...withList("10.2.0.0/24"));
    expect((await readdir(bin)).sort()).toEqual(names);
    expect(await readdir(conf)).toEqual(["10-podwire.conflist"]);
    expect(await readFile(join(conf, "10-podwire.conflist"), "utf8")).toContain("10.2.0.0/24");
  }

  test("SIGKILL", async () => {
    await good(...withList("10.1.0.0/24"));
    const log = join(root, "trace");
    await execa("strace", ["-o", log, installer, ...withList("10.1.0.0/24")]);
    const made = (await readFile(log, "utf8")).match(/^\w+(?=\()/gm) ?? [];
    const counts = new Map<string, number>();
    /* The first call starts the program, and the last ends it. */
    for (const name of made.slice(1, -1)) counts.set(name, (counts.get(name) ?? 0) + 1);
    let points = 0;
    for (const [name, count] of counts)
      for (let n = 1; n <= count; n += 1) {
        if (await withFault("signal=KILL", name, n)) points += 1;
        await isWhole();
      }
    expect(points).toBeGreaterThan(80);
  }, 120_000);

  test.each([
    ["write", "ENOSPC"],
    ["openat", "EMFILE"],
    ["pread64", "EIO"],
    ["fsync", "EIO"],
    ["fchmod", "EPERM"],
    ["linkat", "EPERM"],
    ["renameat2", "EIO"],
    ["flock", "EBADF"],
  ])("%s: %s", async (calls, error) => {
    await good(...withList("10.1.0.0/24"));
    let n = 1;
    while (await withFault(`error=${error}`, calls, n)) {
      await versions();
      expect((await readdir(bin)).filter((name) => name.startsWith("."))).toEqual([]);
      await isWhole();
      n += 1;
    }
    expect(n).toBeGreaterThan(1);
  });
});

test("needs no more of its surroundings than the directory and /proc", async () => {
  await chmod(installer, 0o555);
  await good("--bin-dir", bin);
  expect((await stat(join(bin, "bridge"))).mode & 0o7777).toBe(0o755);
});
