/** What the tuning plugin changes, from which source, and what it refuses before it changes anything. */
import { describe, expect, test } from "vitest";
import { expectError, expectSuccess, type JsonObject, VERSIONS } from "../../testbed/harness.ts";
import {
  attributesOf,
  insideOf,
  MAC,
  READ_ONLY_PROC,
  SYSCTL,
  SYSCTL_FILE,
  UNREADABLE_LIST,
  withAllowList,
  withLab,
} from "./tuning-lab.ts";

const OTHER = "02:00:00:00:0c:0d";

describe("ADD", () => {
  const cases: readonly (readonly [string, JsonObject, object])[] = [
    ["mac", { mac: MAC }, { mac: MAC }],
    ["mtu", { mtu: 1400 }, { mtu: 1400 }],
    ["txQLen", { txQLen: 77 }, { txQLen: 77 }],
    ["txQLen, and be it 0", { txQLen: 0 }, { txQLen: 0 }],
    ["promisc", { promisc: true }, { promisc: true }],
    ["allmulti", { allmulti: true }, { allmulti: true }],
    [
      "all of them",
      { mac: MAC, mtu: 1300, txQLen: 5, promisc: true, allmulti: true },
      {
        ...{ mac: MAC, mtu: 1300, txQLen: 5, promisc: true, allmulti: true },
      },
    ],
  ];
  test.each(cases)("sets %s, of the configuration and of args.cni, and nothing else", (_name, options, expected) =>
    withLab(async (lab) => {
      for (const more of [options, { args: { cni: options } }]) {
        const pod = await lab.tuned(more);
        expect(await attributesOf(pod)).toEqual({ ...pod.before, ...expected });
        expectSuccess(await lab.call("CHECK", pod, { ...more, prevResult: pod.result }));
        expectSuccess(await lab.call("DEL", pod, { ...more, prevResult: pod.result }));
        expect(await attributesOf(pod)).toEqual(pod.before);
      }
      expect(await lab.recordNames()).toEqual([]);
    }),
  );

  test("turns all-multicast off where it is on, and leaves promiscuity alone if it is not asked for", () =>
    withLab(async (lab) => {
      const pod = await lab.pod();
      await pod.netns.ip("link", "set", "eth0", "promisc", "on", "allmulticast", "on");
      expectSuccess(await lab.add(pod, { allmulti: false, promisc: false }));
      expect(await attributesOf(pod)).toMatchObject({ promisc: true, allmulti: false });
      expectSuccess(await lab.call("DEL", pod, {}));
      expect(await attributesOf(pod)).toMatchObject({ promisc: true, allmulti: true });
    }));

  test("sets sysctls of the pod: by dots, slashes, IFNAME, and of args.cni alone", () =>
    withLab(async (lab) => {
      const pod = await lab.pod();
      const files = ["net/core/somaxconn", "net/ipv4/tcp_rmem", SYSCTL_FILE];
      const before = await Promise.all(files.map((file) => pod.netns.sysctl(file)));
      const sysctl = { "net.core.somaxconn": "501", "net/ipv4/tcp_rmem": "4096 87380  200000" };
      const more = { sysctl, args: { cni: { sysctl: { [SYSCTL]: "2" } } } };
      const result = expectSuccess(await lab.add(pod, more));
      expect(result).toEqual(pod.bridged);
      const after = await Promise.all(files.map((file) => pod.netns.sysctl(file)));
      expect(after).toEqual(["501", "4096\t87380\t200000", "2"]);
      expect(await lab.sandbox.host.sysctl("net/ipv4/conf/all/arp_announce")).toBe("0");
      expectSuccess(await lab.call("CHECK", pod, { ...more, prevResult: result }));
      expectSuccess(await lab.call("DEL", pod, more));
      expect(await Promise.all(files.map((file) => pod.netns.sysctl(file)))).toEqual(before);
      const alone = await lab.pod();
      expectSuccess(await lab.add(alone, { args: { cni: { sysctl: { [SYSCTL]: "1" } } } }));
      expect(await alone.netns.sysctl(SYSCTL_FILE)).toBe("1");
    }));

  test("finds an interface with a dot in its name", () =>
    withLab(async (lab) => {
      const pod = await lab.pod({ ifname: "eth0.100" });
      expectSuccess(await lab.add(pod, { sysctl: { [SYSCTL]: "2" } }));
      expect(await pod.netns.sysctl("net/ipv4/conf/eth0.100/arp_announce")).toBe("2");
    }));

  test("takes the MAC of args.cni before runtimeConfig, CNI_ARGS and the configuration", () =>
    withLab(async (lab) => {
      const mac = (n: number): string => `02:00:00:00:00:0${n}`;
      const args = { args: `IgnoreUnknown=1;MAC=${mac(2)}` };
      const own = { mac: mac(1) };
      const runtime = { ...own, runtimeConfig: { mac: mac(3) } };
      const sources = [
        [own, {}, mac(1)],
        [own, args, mac(2)],
        [runtime, args, mac(3)],
        [{ ...runtime, args: { cni: { mac: mac(4) } } }, args, mac(4)],
      ] as const;
      for (const [more, options, expected] of sources) {
        const pod = await lab.pod();
        const result = expectSuccess(await lab.add(pod, more, options));
        expect((await attributesOf(pod)).mac).toBe(expected);
        expect(insideOf(result).mac).toBe(expected);
      }
    }));

  test.each(VERSIONS)("%s: the result is that of before, with the MAC and the MTU of the interface", (version) =>
    withLab(async (lab) => {
      const pod = await lab.pod({ version });
      const result = expectSuccess(await lab.add(pod, { cniVersion: version, mac: MAC, mtu: 1400 }));
      if (version < "0.3.0") return expect(result).toEqual(pod.bridged);
      const interfaces = (pod.bridged.interfaces as JsonObject[]).map((item) => {
        if (item.sandbox === undefined) return item;
        return { ...item, mac: MAC, ...(version === "1.1.0" ? { mtu: 1400 } : {}) };
      });
      expect(result).toEqual({ ...pod.bridged, interfaces });
    }),
  );

  test("changes no other interface of the result, and hands DNS and routes on", () =>
    withLab(async (lab) => {
      const pod = await lab.pod();
      const elsewhere = [
        { name: "eth0", mac: OTHER, sandbox: "/run/netns/another" },
        { name: "eth0", mac: OTHER },
      ];
      const interfaces = [...(pod.bridged.interfaces as JsonObject[]), ...elsewhere];
      const dns = { nameservers: ["10.88.0.53"], search: ["a.example"] };
      const prevResult = { ...pod.bridged, interfaces, dns, routes: [{ dst: "192.0.2.0/24", gw: "10.88.0.1" }] };
      const result = expectSuccess(await lab.add(pod, { mac: MAC, prevResult }));
      expect((result.interfaces as JsonObject[]).slice(-2)).toEqual(elsewhere);
      expect(result).toMatchObject({ dns, routes: prevResult.routes });
      expect(insideOf(result).mac).toBe(MAC);
    }));

  test("again keeps what the first one found", () =>
    withLab(async (lab) => {
      const pod = await lab.tuned({ mtu: 1400, sysctl: { [SYSCTL]: "1" } });
      expectSuccess(await lab.add(pod, { mtu: 1300, txQLen: 9, sysctl: { [SYSCTL]: "2" } }));
      expect(await attributesOf(pod)).toEqual({ ...pod.before, mtu: 1300, txQLen: 9 });
      expectSuccess(await lab.call("DEL", pod, {}));
      expect(await attributesOf(pod)).toEqual(pod.before);
      expect(await pod.netns.sysctl(SYSCTL_FILE)).toBe("0");
    }));

  test("without options does nothing and keeps nothing", () =>
    withLab(async (lab) => {
      const pod = await lab.tuned({});
      expect(pod.result).toEqual(pod.bridged);
      expect(await lab.recordNames()).toEqual([]);
    }));

  test("keeps its record for root alone", () =>
    withLab(async (lab) => {
      const pod = await lab.tuned({ mtu: 1400 });
      expect(await lab.recordNames()).toEqual([`${pod.containerId}_eth0.json`]);
      expect(await lab.modeOf(lab.recordPath(pod))).toBe("600");
      expect(await lab.modeOf(lab.records)).toBe("700");
      expect(await lab.record(pod)).toMatchObject({ mtu: 1500, podwire: { network: "pwt-net" } });
    }));
});

describe("ADD refuses before it changes anything", () => {
  const refused: readonly (readonly [string, JsonObject, number, RegExp])[] = [
    ["another tree of sysctls", { sysctl: { "kernel.shmmax": "1" } }, 7, /^invalid net sysctl key: "kernel\/shmmax"$/],
    ["a way out of the tree", { sysctl: { "net/../kernel/x": "1" } }, 7, /^invalid net sysctl key/],
    ["a MAC that is none", { mac: "x" }, 7, /invalid args x for MAC addr/],
    ["a MAC of many stations", { mac: "01:00:5e:00:00:01" }, 7, /invalid args 01:00:5e:00:00:01 for MAC addr/],
    ["an MTU that IPv6 cannot do with", { mtu: 1200 }, 7, /1200 is too small for IPv6/],
    ["a relative directory", { dataDir: "x" }, 7, /"dataDir"/],
    ["a sysctl that is not there", { sysctl: { "net.ipv4.no_such": "1" } }, 100, /no setting .*net\/ipv4\/no_such$/],
    ["a directory of sysctls", { sysctl: { "net.ipv4.conf": "1" } }, 100, /no setting/],
  ];
  test.each(refused)("%s", (_name, more, code, msg) =>
    withLab(async (lab) => {
      const pod = await lab.pod();
      const before = await attributesOf(pod);
      const all = { txQLen: 9, ...more, sysctl: { [SYSCTL]: "2", ...(more.sysctl as JsonObject) } };
      expectError(await lab.add(pod, all), { code, msg });
      expect(await attributesOf(pod)).toEqual(before);
      expect(await pod.netns.sysctl(SYSCTL_FILE)).toBe("0");
      expect(await lab.recordNames()).toEqual([]);
    }),
  );

  test("a key that is there twice", () =>
    withLab(async (lab) => {
      const pod = await lab.pod();
      const text = JSON.stringify({ ...lab.config({ prevResult: pod.bridged }), sysctl: "SYSCTLS" });
      const stdin = text.replace('"SYSCTLS"', '{"net.core.somaxconn":"1","net.core.somaxconn":"2"}');
      const result = await lab.add(pod, {}, { stdin });
      expectError(result, { code: 7, msg: /duplicated sysctl keys are not allowed/ });
    }));

  test("a call without a previous result, and one for a link that is not there", () =>
    withLab(async (lab) => {
      const pod = await lab.pod();
      for (const command of ["ADD", "CHECK"]) {
        expectError(await lab.call(command, pod, { mtu: 1400 }), { code: 7, msg: "Required prevResult missing" });
      }
      const absent = { ...pod, ifname: "eth9" };
      expectError(await lab.add(absent, { mtu: 1400 }), { code: 100, msg: "container interface eth9 is not there" });
      expectError(await lab.add({ ...pod, ifname: "a/b" }, { mtu: 1400 }), { code: 4, msg: /contains \// });
    }));
});

describe("ADD that fails takes everything back", () => {
  test("an MTU that the kernel refuses", () =>
    withLab(async (lab) => {
      const pod = await lab.pod();
      /* A link that stands on another one has no larger MTU than that. */
      await pod.netns.ip("link", "add", "link", "eth0", "name", "mv0", "type", "macvlan");
      const child = { ...pod, ifname: "mv0" };
      const before = await attributesOf(child);
      const more = { sysctl: { [SYSCTL]: "2" }, mac: MAC, mtu: 9000, txQLen: 5, allmulti: true, promisc: true };
      expectError(await lab.add(child, more), { code: 100, msg: /^cannot set MTU 9000 of mv0: invalid argument/ });
      expect(await attributesOf(child)).toEqual(before);
      expect(await pod.netns.sysctl("net/ipv4/conf/mv0/arp_announce")).toBe("0");
      expect(await lab.recordNames()).toEqual([]);
    }));

  test("a sysctl that the kernel refuses, also after another ADD: then its record stays", () =>
    withLab(async (lab) => {
      const pod = await lab.pod();
      const more = { sysctl: { [SYSCTL]: "2", "net.ipv4.tcp_congestion_control": "no-such" } };
      const msg = /^cannot set \/proc\/sys\/net\/ipv4\/tcp_congestion_control to no-such/;
      expectError(await lab.add(pod, more), { code: 100, msg });
      expect(await pod.netns.sysctl(SYSCTL_FILE)).toBe("0");
      expect(await lab.recordNames()).toEqual([]);
      expectSuccess(await lab.add(pod, { sysctl: { [SYSCTL]: "1" } }));
      const kept = await lab.record(pod);
      expectError(await lab.add(pod, { ...more, mtu: 1400 }), { code: 100, msg });
      expect(await pod.netns.sysctl(SYSCTL_FILE)).toBe("1");
      expect(await lab.record(pod)).toEqual(kept);
    }));

  test("a sysctl that cannot be written, unless its value is right already", () =>
    withLab(async (lab) => {
      const pod = await lab.pod();
      expectSuccess(await lab.add(pod, { sysctl: { [SYSCTL]: "0", "net.ipv4.tcp_rmem": "4096 131072 6291456" } }));
      const tcp = (await pod.netns.sysctl("net/ipv4/tcp_rmem")).replaceAll("\t", " ");
      const same = { sysctl: { [SYSCTL]: "0", "net.ipv4.tcp_rmem": tcp }, mtu: 1400 };
      expectSuccess(await lab.add(pod, same, { through: READ_ONLY_PROC }));
      const other = { sysctl: { [SYSCTL]: "2" }, mtu: 1300 };
      const msg = `cannot set /proc/sys/${SYSCTL_FILE} to 2: read-only file system`;
      expectError(await lab.add(pod, other, { through: READ_ONLY_PROC }), { code: 100, msg });
      expect((await attributesOf(pod)).mtu).toBe(1400);
      expectSuccess(await lab.call("DEL", pod, {}));
      expect((await attributesOf(pod)).mtu).toBe(1500);
    }));

  test("too many numbers for a sysctl", () =>
    withLab(async (lab) => {
      const pod = await lab.pod();
      const result = await lab.add(pod, { sysctl: { [SYSCTL]: "2 3 4" } });
      expectError(result, { code: 100, msg: /took only the beginning/ });
      expect(await pod.netns.sysctl(SYSCTL_FILE)).toBe("0");
    }));
});

describe("the list of allowed sysctls", () => {
  const more = { sysctl: { [SYSCTL]: "2" } };

  test("allows what one of its lines matches as it is written", () =>
    withLab(async (lab) => {
      const pod = await lab.pod();
      const through = withAllowList("^net\\.core\\.\n^net.ipv4.conf.IFNAME.[a-z_]*$\n");
      expectSuccess(await lab.add(pod, more, { through }));
      expect(await pod.netns.sysctl(SYSCTL_FILE)).toBe("2");
      const direct = { sysctl: { "net.ipv4.conf.eth0.arp_announce": "1" } };
      expectError(await lab.add(pod, direct, { through }), {
        code: 7,
        msg: "Sysctl net.ipv4.conf.eth0.arp_announce is not allowed. Only the following sysctls are allowed: [^net\\.core\\. ^net.ipv4.conf.IFNAME.[a-z_]*$]",
      });
      expect(await pod.netns.sysctl(SYSCTL_FILE)).toBe("2");
    }));

  test("is asked by ADD alone, for sysctls of args.cni as well", () =>
    withLab(async (lab) => {
      const pod = await lab.tuned(more);
      const through = withAllowList("^nothing$");
      expectError(await lab.add(pod, { args: { cni: more } }, { through }), { code: 7, msg: /is not allowed/ });
      expectSuccess(await lab.add(pod, { mtu: 1400 }, { through }));
      expectSuccess(await lab.call("CHECK", pod, { ...more, prevResult: pod.result }, { through }));
      expectSuccess(await lab.call("DEL", pod, more, { through }));
    }));

  test("that cannot be used is an error of ADD, and of STATUS where each pod has sysctls", () =>
    withLab(async (lab) => {
      const pod = await lab.pod();
      const wrong = withAllowList("^net\n(?i)NET");
      const line = /allowlist.conf, line 2: "\(\?i\)NET" is no pattern: flags/;
      expectError(await lab.add(pod, more, { through: wrong }), { code: 7, msg: line });
      expectError(await lab.call("STATUS", pod, more, { through: wrong }), { code: 50, msg: line });
      const unread = /^cannot read \/etc\/cni\/tuning\/allowlist.conf/;
      expectError(await lab.add(pod, more, { through: UNREADABLE_LIST }), { code: 5, msg: unread });
      expectError(await lab.call("STATUS", pod, more, { through: UNREADABLE_LIST }), { code: 50, msg: unread });
      const status = await lab.call("STATUS", pod, { mtu: 1400 }, { through: wrong });
      expectSuccess(status);
      expect(status.stderr).toMatch(/^tuning: .*ADD fails for pods with sysctls of their own/);
      for (const through of [[], withAllowList("^net")]) {
        expect(await lab.call("STATUS", pod, more, { through })).toMatchObject({ exitCode: 0, stdout: "", stderr: "" });
      }
    }));
});
