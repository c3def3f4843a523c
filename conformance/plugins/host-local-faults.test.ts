/** host-local after kills at each system call, damaged files and full disks: no lease is lost, none blocks an address. */
import { mkdir, rm, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { execa } from "execa";
import { describe, expect, it } from "vitest";
import { binDirectory, expectError, expectSuccess } from "../../testbed/harness.ts";
import { expectConsistent, killPoints, smallRange, trace, withNetwork } from "./host-local-harness.ts";

const SUBNET = { subnet: "10.9.0.0/24" };
const HOST_LOCAL = join(binDirectory, "host-local");

describe("killed at each system call", () => {
  it("ADD loses no lease and blocks none", async () => {
    await withNetwork(smallRange(5), async (network) => {
      const live = await network.addOne("live");
      const points = killPoints((await trace(network, "ADD", "victim")).lines);
      await network.del("victim");
      expect(points.length).toBeGreaterThan(40);
      for (const [i, point] of points.entries()) {
        const { killed } = await trace(network, "ADD", "victim", point);
        expect(killed, point.join(" ")).toBe(true);
        /* In every second case the runtime tries again, in the others it gives up. */
        if (i % 2 === 0) {
          const again = await network.addOne("victim");
          expect(again).not.toBe(live);
          expect(await network.addresses()).toEqual([live, again].sort());
        }
        await network.del("victim");
        expect(await network.addresses(), point.join(" ")).toEqual([live]);
        await expectConsistent(network);
      }
      for (const id of ["c1", "c2", "c3"]) await network.add(id);
      expectError(await network.call("ADD", "c4"), { code: 103, details: /^used 4 of 4/ });
    });
  });

  it("DEL loses no lease and blocks none", async () => {
    await withNetwork(smallRange(5), async (network) => {
      const live = await network.addOne("live");
      await network.add("victim");
      const points = killPoints((await trace(network, "DEL", "victim")).lines);
      expect(points.length).toBeGreaterThan(40);
      for (const [i, point] of points.entries()) {
        await network.add("victim");
        const { killed } = await trace(network, "DEL", "victim", point);
        expect(killed, point.join(" ")).toBe(true);
        if (i % 2 === 0) {
          await network.add("victim");
          expect(await network.addresses()).toHaveLength(2);
        }
        await network.del("victim");
        expect(await network.addresses(), point.join(" ")).toEqual([live]);
        await expectConsistent(network);
      }
      for (const id of ["c1", "c2", "c3"]) await network.add(id);
      expectError(await network.call("ADD", "c4"), { code: 103, details: /^used 4 of 4/ });
    });
  });

  it("the first ADD of a network does not block the next", async () => {
    const points: string[][] = [];
    await withNetwork(SUBNET, async (network) => {
      points.push(...killPoints((await trace(network, "ADD", "victim")).lines));
    });
    for (const point of points) {
      await withNetwork(SUBNET, async (network) => {
        await trace(network, "ADD", "victim", point);
        await network.add("other");
        await network.del("victim");
        await expectConsistent(network);
        expect(await network.addresses(), point.join(" ")).toHaveLength(1);
      });
    }
  });

  it("the address of an ADD without DEL is not allocated again until GC", async () => {
    await withNetwork(smallRange(201), async (network) => {
      await network.add("first");
      const points = killPoints((await trace(network, "ADD", "second")).lines);
      const given: string[] = [];
      for (const [i, point] of points.entries()) {
        await trace(network, "ADD", `victim${i}`, point);
        const address = await network.addOne(`c${i}`);
        expect(given).not.toContain(address);
        given.push(address);
        expect((await network.leaseFiles())[address]).toBe(`c${i}\r\neth0`);
      }
      const valid = given.map((_, i) => ({ containerID: `c${i}`, ifname: "eth0" }));
      expectSuccess(await network.call("GC", "x", { more: { "cni.dev/valid-attachments": valid } }));
      expect(await network.addresses()).toEqual(given.sort());
      await expectConsistent(network);
    });
  });
});

describe("damage", () => {
  it.each([
    ["empty", ""],
    ["torn", "\0\0\0\0\0\0\0\0"],
    ["invalid", "/ / /"],
  ])("a lease file that is %s does not block its address", async (_name, content) => {
    await withNetwork(smallRange(4), async (network) => {
      await network.writeLease("10.9.0.2", content);
      await network.writeLease("10.9.0.4", content);
      const given = [];
      for (const id of ["c1", "c2", "c3"]) given.push(await network.addOne(id));
      expect(given.sort()).toEqual(["10.9.0.2", "10.9.0.3", "10.9.0.4"]);
    });
  });

  it("a lease file that was truncated is no lease", async () => {
    await withNetwork(smallRange(3), async (network) => {
      await network.add("c1");
      await network.add("c2");
      await truncate(join(network.leases, "10.9.0.2"), 0);
      expect(await network.addOne("c3")).toBe("10.9.0.2");
      await network.del("c1");
      expect(await network.addresses()).toEqual(["10.9.0.2", "10.9.0.3"]);
    });
  });

  it.each([
    ["empty", ""],
    ["torn", "podwire host-local index 1\nboot "],
    ["nonsense", "x".repeat(5000)],
  ])("an index that is %s is replaced after a search of the directory", async (_name, text) => {
    await withNetwork(SUBNET, async (network) => {
      await network.add("c1");
      await network.add("c2");
      await writeFile(join(network.own, "index"), text);
      expect(await network.addOne("c3")).toBe("10.9.0.4");
      await network.del("c1");
      await expectConsistent(network);
    });
  });

  it("a lease whose record is damaged is still found", async () => {
    await withNetwork(SUBNET, async (network) => {
      await network.add("c1");
      const [name] = Object.keys(await network.records());
      await writeFile(join(network.own, name ?? ""), "{");
      await network.del("c1");
      expect(await network.addresses()).toEqual([]);
      await network.add("c2");
      await expectConsistent(network);
    });
  });

  it("records and leases may be removed by hand", async () => {
    await withNetwork(SUBNET, async (network) => {
      await network.add("c1");
      await network.add("c2");
      await rm(network.own, { recursive: true });
      await network.add("c3");
      await expectConsistent(network);
      await rm(network.leases, { recursive: true });
      expect(await network.addOne("c4")).toBe("10.9.0.2");
      await expectConsistent(network);
      expect(await network.addresses()).toEqual(["10.9.0.2"]);
    });
  });
});

it("serves DEL on a full disk, and an ADD that fails there leaves nothing", async () => {
  await withNetwork(SUBNET, async (network) => {
    await mkdir(network.dataDir);
    await writeFile(join(network.directory, "config"), JSON.stringify(network.config()));
    /* The mount is in a mount namespace of this shell. */
    const script = `
      set -e
      mount -t tmpfs -o size=64k none "$DATA"
      call() { CNI_COMMAND=$1 CNI_CONTAINERID=$2 "$PLUGIN" < "$CONFIG" || echo "exit $?"; }
      for id in c1 c2 c3; do call ADD $id > /dev/null; done
      dd if=/dev/zero of="$DATA/fill" bs=4k 2> /dev/null || true
      call ADD c4
      ls -A "$DATA/net" && ls -A "$DATA/.podwire/net" | wc -l
      call DEL c1
      rm "$DATA/.podwire/net/index"
      dd if=/dev/zero of="$DATA/fill2" bs=4k 2> /dev/null || true
      call DEL c2
      ls -A "$DATA/net"`;
    const env = {
      DATA: network.dataDir,
      PLUGIN: HOST_LOCAL,
      CONFIG: join(network.directory, "config"),
      CNI_NETNS: "/x",
      CNI_IFNAME: "eth0",
      CNI_PATH: "/x",
    };
    const { stdout } = await execa("unshare", ["--mount", "sh", "-c", script], { env });
    const [error, rest] = stdout.split("exit 1\n");
    expect(JSON.parse(error ?? "")).toMatchObject({
      code: 5,
      msg: expect.stringMatching(/record of c4.*no space left on device/),
    });
    const names = ["10.9.0.2", "10.9.0.3", "10.9.0.4", "last_reserved_ip.0", "lock"];
    expect(rest?.split("\n")).toEqual([...names, "4", ...names.slice(2)]);
  });
});
