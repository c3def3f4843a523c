/**
 * A fresh machine: Debian 12's essential packages and apt, Node.js, npm and make, and nothing else, in which README's
 * commands must run to their end. It is a root directory of its own with processes and mounts of its own; packages come
 * over the machine's own network, from the mirror and the registry that the machine is set up for.
 * `node hack/fresh/run.ts COMMAND...` runs other commands: "make demo", "vitest run --project unit".
 */
import { cp, mkdir, mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join, relative, resolve } from "node:path";
import { execa } from "execa";
import { mirror } from "../debian.ts";
import { basePrograms, restrictPath } from "../programs/list.ts";

const repository = resolve(import.meta.dirname, "../..");
const RELEASE = "bookworm";
/** The oldest Node.js that README promises to do with, and an npm that runs on it, both as npm's registry has them. */
const NODE = [`node-linux-${process.arch}@20`, "npm@10"];
const README_COMMANDS = ["make demo", "make demo-overlay", "make demo-cluster", "make test"];
/** What a clone of the repository does not have. */
const OWN = new Set([".git", ".cache", "node_modules", "build", "bin"]);
/** What tells programs how this machine reaches the network. */
const NETWORK_VARIABLES = /^(https?_proxy|no_proxy|npm_config_.*|node_extra_ca_certs|ssl_cert_file)$/i;
const ACQUIRE = /^Acquire::(https?|ftp|Retries|Check-Valid-Until)(::.*)? "/;

async function main(): Promise<number> {
  if (process.getuid?.() !== 0)
    throw new Error("a root directory with mounts of its own is for root: run this as root");
  const commands = process.argv.length > 2 ? process.argv.slice(2) : README_COMMANDS;
  const freePath = await restrictPath(["fresh"]);
  const root = await mkdtemp(join(tmpdir(), `pwt-${process.pid}-`));
  try {
    await makeRoot(root);
    return await runInside(root, commands);
  } finally {
    /* Its mounts ended with the processes in it. */
    await rm(root, { recursive: true, force: true });
    await freePath();
  }
}

async function makeRoot(root: string): Promise<void> {
  console.log(`fresh: Debian ${RELEASE} with apt, make, ${NODE.join(" and ")}`);
  const quiet = { stdin: "ignore", stdout: "ignore", stderr: "inherit" } as const;
  const settings = join(root, "..", `${root.slice(root.lastIndexOf("/") + 1)}.apt`);
  try {
    const { stdout } = await execa("apt-config", ["dump"]);
    await writeFile(
      settings,
      stdout
        .split("\n")
        .filter((line) => ACQUIRE.test(line))
        .join("\n")
        .concat("\n"),
    );
    await execa(
      "mmdebstrap",
      [
        ...["--quiet", "--variant=apt", "--include=make", `--aptopt=${settings}`],
        ...[RELEASE, root, `deb ${await mirror()} ${RELEASE} main`],
      ],
      quiet,
    );
  } finally {
    await rm(settings, { force: true });
  }
  await copyNetworkSettings(root);
  await execa("npm", ["install", "--global", "--prefix", join(root, "usr/local"), "--loglevel=error", ...NODE], quiet);
  await checkBase(root);
  await cp(repository, join(root, "podwire"), {
    recursive: true,
    filter: (path) => !OWN.has(relative(repository, path).split("/")[0] ?? ""),
  });
}

/** What tests and tools take for granted must be there. */
async function checkBase(root: string): Promise<void> {
  const directories = ["usr/bin", "usr/sbin", "usr/local/bin"].map((path) => readdir(join(root, path)));
  const there = new Set((await Promise.all(directories)).flat());
  const missing = (await basePrograms()).filter((name) => !there.has(name));
  if (missing.length > 0) throw new Error(`hack/programs/base.txt names what this root lacks: ${missing.join(" ")}`);
}

/** How this machine resolves names and reaches npm's registry. apt's part is there already. */
async function copyNetworkSettings(root: string): Promise<void> {
  const copies = [
    ...["/etc/resolv.conf", "/etc/hosts"].map((path) => [path, path]),
    [await npmSetting("userconfig"), "/root/.npmrc"],
    [await npmSetting("globalconfig"), "/usr/local/etc/npmrc"],
    ...[await npmSetting("cafile"), process.env.NODE_EXTRA_CA_CERTS, process.env.SSL_CERT_FILE].map((path) => [
      path,
      path,
    ]),
  ];
  for (const [from, to] of copies) {
    if (from === undefined || to === undefined || !from.startsWith("/")) continue;
    await mkdir(dirname(join(root, to)), { recursive: true });
    /* Which of them a machine has differs. */
    await cp(from, join(root, to), { dereference: true }).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== "ENOENT") throw error;
    });
  }
}

async function npmSetting(name: string): Promise<string> {
  const { stdout } = await execa("npm", ["config", "get", name], { cwd: "/" });
  return stdout.trim();
}

async function runInside(root: string, commands: readonly string[]): Promise<number> {
  const network = Object.entries(process.env).filter(([name]) => NETWORK_VARIABLES.test(name));
  const child = execa(
    "unshare",
    [
      ...["--mount", "--pid", "--uts", "--ipc", "--fork", "--kill-child", "--propagation", "private", "--"],
      ...["bash", join(import.meta.dirname, "enter.sh"), root],
    ],
    {
      env: {
        ...Object.fromEntries(network),
        ...{ PATH: "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", HOME: "/root", NO_COLOR: "1" },
        FRESH_COMMANDS: commands.join("\n"),
      },
      ...{ extendEnv: false, stdio: ["ignore", "inherit", "inherit"], reject: false, cleanup: true },
    },
  );
  const stop = (): void => void child.kill("SIGKILL");
  process.once("SIGINT", stop);
  process.once("SIGTERM", stop);
  const { exitCode } = await child;
  return exitCode ?? 1;
}

process.exitCode = await main();
