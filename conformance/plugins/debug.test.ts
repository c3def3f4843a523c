/** `PODWIRE_DEBUG`: what a call does, on standard error or in a file; the answer to the runtime stays what it is. */
import { mkdir, readFile, stat, symlink } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { expectSuccess } from "../../testbed/harness.ts";
import { type Lab, withLab } from "./bridge-lab.ts";

const CONFIG = { isGateway: true, macspoofchk: true };
const LEASE = { ips: [{ address: "10.77.0.5/24" }] };
const LINE = /^ {0,4}\d+ ms {2}\S/;

async function addWith(lab: Lab, value: string) {
  const pod = await lab.pod();
  const result = await lab.run("ADD", pod, CONFIG, { lease: LEASE, env: { PODWIRE_DEBUG: value } });
  expectSuccess(result);
  await lab.del(pod, CONFIG);
  return result;
}

test("1 tells messages, files, settings and decisions on standard error, each with its time", () =>
  withLab(async (lab) => {
    const lines = (await addWith(lab, "1")).stderr.trimEnd().split("\n");
    expect(lines.filter((line) => !LINE.test(line))).toEqual([]);
    const text = lines.join("\n");
    for (const part of [
      /bridge \S+: ADD pwt-\S+ eth0 \/run\/netns\/pwt-/,
      /-> \d+ RTM_NEWLINK ack excl create 3="pwt0"/,
      /<- \d+ no such device/,
      /make veth pair veth\w+ with eth0 in the container/,
      /\/proc\/sys\/net\/ipv6\/conf\/pwt0\/accept_ra is 1, set it to 0/,
      /-> \d+ NFT_MSG_NEWSETELEM .* 2="macs"/,
      /write the record \/run\/podwire\//,
    ]) {
      expect(text).toMatch(part);
    }
    const times = lines.map((line) => Number.parseInt(line, 10));
    expect(times).toEqual(times.toSorted((a, b) => a - b));
  }));

test.each(["", "0"])("%j tells nothing", (value) =>
  withLab(async (lab) => {
    expect((await addWith(lab, value)).stderr).toBe("");
  }),
);

test("a path is a file that only its owner reads, and that calls add to; a symbolic link is not followed", () =>
  withLab(async (lab) => {
    const directory = join(lab.directory, "traces");
    await mkdir(directory);
    const path = join(directory, "trace");
    expect((await addWith(lab, path)).stderr).toBe("");
    const once = await readFile(path, "utf8");
    expect((await stat(path)).mode & 0o777).toBe(0o600);
    await addWith(lab, path);
    const twice = await readFile(path, "utf8");
    expect(twice.startsWith(once) && twice.length > once.length).toBe(true);
    await symlink(path, join(directory, "link"));
    expect((await addWith(lab, join(directory, "link"))).stderr).toMatch(/RTM_NEWLINK/);
    expect(await readFile(path, "utf8")).toBe(twice);
  }));
