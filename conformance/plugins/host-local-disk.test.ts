/** host-local's files: shared with the reference plugin, repaired after kills and reboots, safe from links. */
import {
  access,
  chmod,
  lchown,
  mkdir,
  readdir,
  readFile,
  rename,
  rm,
  symlink,
  utimes,
  writeFile,
} from "node:fs/promises";
import { join } from "node:path";
import { execa } from "execa";
import { describe, expect, it } from "vitest";
import { binDirectory, call, expectError, expectSuccess, Netns } from "../../testbed/harness.ts";
import { expectConsistent, type Network, REFERENCE, smallRange, trace, withNetwork } from "./host-local-harness.ts";

const SUBNET = { subnet: "10.9.0.0/24" };
/** A user who is not root. */
const STRANGER = 1234;
const HOST_LOCAL = join(binDirectory, "host-local");
const hasReference = await access(REFERENCE).then(
  () => true,
  () => false,
);

describe.skipIf(!hasReference)("with the reference plugin", () => {
  it("takes over its directory", async () => {
    await withNetwork(smallRange(6), async (network) => {
      const reference = { plugin: REFERENCE };
      for (const id of ["r1", "r2", "r3"]) await network.add(id, reference);
      await network.del("r2", reference);
      /* It continues after the address allocated last, and allocates no leased one. */
      expect(await network.addOne("c1")).toBe("10.9.0.5");
      expectSuccess(await network.call("CHECK", "r1"));
      await network.del("r1");
      expect(await network.addresses()).toEqual(["10.9.0.4", "10.9.0.5"]);
      const more = { "cni.dev/valid-attachments": [{ containerID: "c1", ifname: "eth0" }] };
      expectSuccess(await network.call("GC", "x", { more }));
      expect(await network.addresses()).toEqual(["10.9.0.5"]);
    });
  });

  it("serves DEL, CHECK and GC in a directory that only the reference has used", async () => {
    await withNetwork(SUBNET, async (network) => {
      for (const id of ["r1", "r2", "r3"]) await network.add(id, { plugin: REFERENCE });
      expectSuccess(await network.call("CHECK", "r1"));
      expectError(await network.call("CHECK", "r9"), { code: 101 });
      await network.del("r1");
      await network.del("r9");
      const more = { "cni.dev/valid-attachments": [{ containerID: "r3", ifname: "eth0" }] };
      expectSuccess(await network.call("GC", "x", { more }));
      expect(await network.addresses()).toEqual(["10.9.0.4"]);
      expect(await readdir(network.dataDir)).toEqual([network.name]);
    });
  });

  it("leaves a directory that the reference can use", async () => {
    await withNetwork(smallRange(6), async (network) => {
      const reference = { plugin: REFERENCE, cniVersion: "1.0.0" };
      for (const id of ["c1", "c2", "c3"]) await network.add(id);
      await network.del("c2");
      expect(await readFile(join(network.leases, "10.9.0.2"), "utf8")).toBe("c1\r\neth0");
      expect(await readFile(join(network.leases, "last_reserved_ip.0"), "utf8")).toBe("10.9.0.4");
      expect(await network.addOne("r1", reference)).toBe("10.9.0.5");
      expectSuccess(await network.call("CHECK", "c1", { ...reference, more: { prevResult: { cniVersion: "1.0.0" } } }));
      await network.del("c1", reference);
      expect(await network.addresses()).toEqual(["10.9.0.4", "10.9.0.5"]);
      expectError(
        { ...(await network.call("CHECK", "c1")) },
        { code: 101, msg: "host-local: Failed to find address added by container ID c1" },
      );
    });
  });

  it("can alternate with it: no address is allocated twice, none is lost", async () => {
    await withNetwork(smallRange(21), async (network) => {
      const held = new Map<string, string>();
      for (let i = 0; i < 60; i += 1) {
        const plugin = i % 3 === 0 ? REFERENCE : HOST_LOCAL;
        if (held.size === 20 || i % 5 === 4) {
          const id = [...held.keys()][i % held.size] ?? "";
          await network.del(id, { plugin: i % 2 === 0 ? REFERENCE : HOST_LOCAL });
          held.delete(id);
        } else {
          const address = await network.addOne(`c${i}`, { plugin });
          expect([...held.values()]).not.toContain(address);
          held.set(`c${i}`, address);
        }
        expect(await network.addresses()).toEqual([...held.values()].sort());
      }
      for (let i = held.size; i < 20; i += 1) await network.add(`last${i}`);
      expectError(await network.call("ADD", "more"), { code: 103, details: /^used 20 of 20, reclaimable 0/ });
    });
  });

  it("shares its lock", async () => {
    await withNetwork(smallRange(201), async (network) => {
      const ids = Array.from({ length: 100 }, (_, i) => i);
      const given = await Promise.all(
        ids.map((i) => network.addOne(`c${i}`, { plugin: i % 2 === 0 ? REFERENCE : HOST_LOCAL })),
      );
      expect(new Set(given).size).toBe(100);
      await Promise.all(ids.map((i) => network.del(`c${i}`, { plugin: i % 2 === 1 ? REFERENCE : HOST_LOCAL })));
      expect(await network.addresses()).toEqual([]);
    });
  });
});

it("removes leases that name only the container, as before CNI 0.7", async () => {
  await withNetwork(SUBNET, async (network) => {
    await network.writeLease("10.9.0.9", "old\n");
    await network.add("c1");
    expectError(await network.call("ADD", "old"), { code: 102, msg: /10\.9\.0\.9 has been allocated to old/ });
    expectSuccess(await network.call("CHECK", "old"));
    await network.del("old", { ifname: "net3" });
    expect(await network.addresses()).toEqual(["10.9.0.2"]);
  });
});

it("allocates 100 addresses to 100 containers at once, ten times [LIFE-3]", async () => {
  await withNetwork(smallRange(101), async (network) => {
    const ids = Array.from({ length: 100 }, (_, i) => `c${i}`);
    for (let round = 0; round < 10; round += 1) {
      const given = await Promise.all(ids.map((id) => network.addOne(`${id}-${round}`)));
      expect(new Set(given).size).toBe(100);
      expect((await network.addresses()).length).toBe(100);
      expectError(await network.call("ADD", "more"), { code: 103, details: /^used 100 of 100/ });
      await Promise.all(ids.map((id) => network.del(`${id}-${round}`)));
      expect(await network.addresses()).toEqual([]);
    }
    expect(await network.records()).toEqual({});
  });
});

describe("symbolic links", () => {
  it("below the data directory are not followed", async () => {
    await withNetwork(SUBNET, async (network) => {
      const target = join(network.directory, "target");
      const untouched = async () => expect(await readFile(target, "utf8")).toBe("precious");
      await writeFile(target, "precious");
      await network.add("c1");
      for (const [directory, name] of [
        [network.leases, "lock"],
        [network.leases, "last_reserved_ip.0"],
        [network.own, "index"],
      ] as const) {
        const path = join(directory, name);
        await rename(path, `${path}.aside`);
        await symlink(target, path);
        expectError(await network.call("ADD", `x-${name}`), { code: 5, msg: /symbolic link/ });
        await untouched();
        await rename(`${path}.aside`, path);
      }
      for (const name of ["10.9.0.3", ".new"]) await symlink(target, join(network.leases, name));
      await symlink(target, join(network.own, ".new"));
      await network.add("c2");
      await untouched();
      await network.del("c2");
      await network.del("c1");
      await untouched();
      expect(await network.addresses()).toEqual([]);
    });
  });

  it("are followed to a network's leases if root made them where nobody else can write", async () => {
    await withNetwork(SUBNET, async (network) => {
      const elsewhere = join(network.directory, "volume");
      await mkdir(elsewhere);
      await mkdir(network.dataDir);
      await symlink(elsewhere, network.leases);
      await network.add("c1");
      expect(await readdir(elsewhere)).toContain("10.9.0.2");
      expectSuccess(await network.call("CHECK", "c1"));
      expectSuccess(await network.call("STATUS", "c1"));
      await chmod(elsewhere, 0o777);
      expectError(await network.call("DEL", "c1"), { code: 5, msg: /open to others/ });
      await chmod(elsewhere, 0o755);
      for (const mode of [0o777, 0o1777]) {
        await chmod(network.dataDir, mode);
        expectError(await network.call("DEL", "c1"), { code: 5 });
      }
      await chmod(network.dataDir, 0o755);
      await network.del("c1");
      expect(await network.addresses()).toEqual([]);
      await rm(elsewhere, { recursive: true });
      expectError(await network.call("ADD", "c2"), { code: 5, msg: /net, a symbolic link: no such file/ });
    });
  });

  it("are not followed for other directories, but may lead to the data directory", async () => {
    await withNetwork(SUBNET, async (network) => {
      const elsewhere = join(network.directory, "elsewhere");
      await mkdir(elsewhere);
      await mkdir(network.dataDir);
      for (const path of [network.leases, join(network.dataDir, ".podwire"), network.own]) {
        await mkdir(join(path, ".."), { recursive: true });
        await rm(path, { recursive: true, force: true });
        await symlink(elsewhere, path);
        if (path === network.leases) await lchown(path, STRANGER, STRANGER);
        for (const verb of ["ADD", "DEL"]) {
          await mkdir(network.leases, { recursive: true });
          expectError(await network.call(verb, "c1"), { code: 5, msg: /symbolic link/ });
        }
        expect(await readdir(elsewhere)).toEqual([]);
        await rm(path);
      }
      await network.add("c0");
      await rename(network.dataDir, `${network.dataDir}.real`);
      await symlink(`${network.dataDir}.real`, network.dataDir);
      await network.add("c1");
      expect(await readdir(join(`${network.dataDir}.real`, network.name))).toContain("10.9.0.3");
    });
  });
});

describe("leases of dead attachments", () => {
  it("of an earlier boot are reclaimed only if no address is free", async () => {
    await withNetwork(smallRange(5), async (network) => {
      await network.add("old1");
      await network.add("old2");
      await network.changeRecord("old1", { boot: "00000000-0000-0000-0000-000000000000" });
      await network.changeRecord("old2", { boot: "00000000-0000-0000-0000-000000000000" });
      expect(await network.addOne("c1")).toBe("10.9.0.4");
      expect(await network.addOne("c2")).toBe("10.9.0.5");
      expect(await network.addresses()).toHaveLength(4);
      expect((await network.addOne("c3")).slice(0, 7)).toBe("10.9.0.");
      await network.add("c4");
      await network.del("old1");
      expectError(await network.call("ADD", "c5"), { code: 103, details: /^used 4 of 4, reclaimable 0/ });
      await expectConsistent(network);
    });
  });

  it("are kept for a container of the same ID, with the same address", async () => {
    await withNetwork(SUBNET, async (network) => {
      await network.add("static", { args: "IP=10.9.0.77" });
      await network.changeRecord("static", { boot: "00000000-0000-0000-0000-000000000000" });
      expect(await network.addOne("static")).toBe("10.9.0.77");
      await network.changeRecord("static", { boot: "00000000-0000-0000-0000-000000000000" });
      /* The container was created again, with another ID but the same requested address. */
      expect(await network.addOne("anew", { args: "IP=10.9.0.77" })).toBe("10.9.0.77");
      await network.del("static");
      expect(await network.leaseFiles()).toEqual({ "10.9.0.77": "anew\r\neth0" });
    });
  });

  it("include those that the reference wrote before this boot, not later ones", async () => {
    await withNetwork(smallRange(3), async (network) => {
      await network.writeLease("10.9.0.2", "r1\r\neth0");
      await network.writeLease("10.9.0.3", "r2\r\neth0");
      const before = new Date(Date.now() - 40 * 86_400_000);
      await utimes(join(network.leases, "10.9.0.3"), before, before);
      expectSuccess(await network.call("STATUS", "x"));
      expect(await network.addOne("c1")).toBe("10.9.0.3");
      expectError(await network.call("ADD", "c2"), { code: 103, details: /^used 2 of 2, reclaimable 0/ });
    });
  });

  it("include those whose namespace is gone after the grace period", async () => {
    await withNetwork(smallRange(4), async (network) => {
      const alive = await Netns.create();
      const gone = await Netns.create();
      const held = await Netns.create();
      const holder = execa("nsenter", [`--net=${held.path}`, "--", "sleep", "60"], { reject: false });
      try {
        for (const [id, pod] of [
          ["alive", alive],
          ["gone", gone],
          ["held", held],
        ] as const) {
          await network.add(id, { netns: pod.path });
        }
        await gone.remove();
        await execa("umount", [held.path]);
        /* The kernel may reuse the namespace's inode number; it never uses this one. */
        await network.changeRecord("gone", { netns: `4 1 ${gone.path}` });
        const old = { "since-boot-ms": "1" };
        expectError(await network.call("ADD", "c1"), {
          code: 103,
          details: /^used 3 of 3, reclaimable 0, 1 more within 60 s/,
        });
        for (const id of ["alive", "gone", "held"]) await network.changeRecord(id, old);
        /* The answer "exhausted" holds for five seconds. */
        await new Promise((resolve) => setTimeout(resolve, 5_100));
        expectSuccess(await network.call("STATUS", "x"));
        expect(await network.addOne("c1")).toBe("10.9.0.3");
        expectError(await network.call("ADD", "c2"), { code: 103 });
        const owners = Object.values(await network.leaseFiles()).sort();
        expect(owners).toEqual(["alive\r\neth0", "c1\r\neth0", "held\r\neth0"]);
      } finally {
        holder.kill("SIGKILL");
        await holder;
        for (const pod of [alive, gone, held]) await pod.remove();
      }
    });
  });
});

it("a namespace that is gone is not confused with a later one of the same inode number", async () => {
  await withNetwork(smallRange(3), async (network) => {
    const pod = await Netns.create();
    try {
      await network.add("gone");
      await network.add("alive", { netns: pod.path });
      const alive = Object.values(await network.records()).find((record) => record.container === "alive");
      const [device, inode] = (alive?.netns ?? "").split(" ");
      await network.changeRecord("gone", { netns: `${device} ${inode} /run/netns/gone`, "since-boot-ms": "1" });
      expect(await network.addOne("c1")).toBe("10.9.0.2");
      expectError(await network.call("ADD", "c2"), { code: 103 });
    } finally {
      await pod.remove();
    }
  });
});

describe("the lock", () => {
  /** Holds the lock for some seconds, or until `stop` is called. */
  const hold = async (network: Network, seconds: number) => {
    await network.add("c0");
    const holder = execa("flock", ["--no-fork", join(network.leases, "lock"), "sleep", String(seconds)], {
      reject: false,
    });
    await new Promise((resolve) => setTimeout(resolve, 300));
    return { pid: holder.pid, stop: () => holder.kill("SIGKILL"), ended: async () => void (await holder) };
  };

  it("is waited for", async () => {
    await withNetwork(SUBNET, async (network) => {
      const holder = await hold(network, 2);
      const result = await network.call("ADD", "c1");
      expectSuccess(result);
      expect(result.durationMs).toBeGreaterThan(1_000);
      expect(result.durationMs).toBeLessThan(2_500);
      await holder.ended();
    });
  });

  it("is waited for at most 20 s; then the error names the holder", async () => {
    await withNetwork(SUBNET, async (network) => {
      const holder = await hold(network, 40);
      try {
        const calls = ["ADD", "DEL"].map((verb) => network.call(verb, "c1"));
        for (const result of await Promise.all(calls)) {
          expectError(result, { code: 11, msg: new RegExp(`lock is locked by process ${holder.pid} `) });
          expect(result.durationMs).toBeGreaterThan(19_500);
          expect(result.durationMs).toBeLessThan(23_000);
        }
        expect(await network.addresses()).toEqual(["10.9.0.2"]);
      } finally {
        holder.stop();
        await holder.ended();
      }
    });
  });

  it("is waited for at most 20 s in all if a call needs it several times", async () => {
    await withNetwork(SUBNET, async (network) => {
      const first = await hold(network, 12);
      /* If the attachment holds an address, ADD releases the lock while it opens the namespace, then locks again. */
      const netns = "/run/netns/none";
      const slowly = ["/usr/bin/strace", "-o", "/dev/null", "-P", netns, "-e", "inject=openat:delay_enter=5000000"];
      const config = network.config();
      const options = { plugin: "host-local", command: "ADD", containerId: "c0", ifname: "eth0", netns, config };
      const waiting = call({ ...options, through: slowly, timeoutMs: 60_000 });
      await first.ended();
      const second = execa("flock", ["--no-fork", join(network.leases, "lock"), "sleep", "60"], { reject: false });
      try {
        /* The second wait has what the first one left of the 20 seconds. */
        expectError(await waiting, { code: 11, details: /^waited [1-9] s;/ });
      } finally {
        second.kill("SIGKILL");
        await second;
        first.stop();
        await first.ended();
      }
    });
  });

  it("is not waited for after a signal", async () => {
    await withNetwork(SUBNET, async (network) => {
      const holder = await hold(network, 3);
      const waiting = execa(HOST_LOCAL, {
        env: { CNI_COMMAND: "ADD", CNI_CONTAINERID: "c1", CNI_NETNS: "/x", CNI_IFNAME: "eth0", CNI_PATH: "/x" },
        input: JSON.stringify(network.config()),
        reject: false,
      });
      await new Promise((resolve) => setTimeout(resolve, 500));
      waiting.kill("SIGTERM");
      const result = await waiting;
      expect(result.exitCode).toBe(1);
      expect(JSON.parse(String(result.stdout))).toMatchObject({ code: 11 });
      expect(await network.addresses()).toEqual(["10.9.0.2"]);
      await holder.ended();
    });
  });
});

it("takes the same time with many leases: no call lists a directory", async () => {
  await withNetwork({ subnet: "10.9.0.0/20" }, async (network) => {
    await network.add("first");
    for (let i = 0; i < 300; i += 1) await network.writeLease(`10.9.1.${i % 250}`, `r${i}\r\neth0`);
    await network.add("adopting");
    for (const verb of ["ADD", "STATUS", "DEL", "DEL"]) {
      const { lines } = await trace(network, verb, "c1");
      expect(lines.filter((line) => /getdents|fsync|fdatasync/.test(line))).toEqual([]);
      expect(lines.length).toBeLessThan(120);
    }
  });
});
