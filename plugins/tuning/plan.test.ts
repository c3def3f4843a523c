import { describe, expect, test } from "vitest";
import { resultInterface } from "../../lib/cni/result.ts";
import { HIDDEN } from "../../lib/host/sysctl.ts";
import { type FormerRecord, NO_SETTINGS } from "../../lib/state/former.ts";
import type { TuningConfig } from "./config.ts";
import { planChanges, planTuning, tunedInterfaces } from "./plan.ts";

const ORIGIN = {
  attachment: { network: "n1", containerId: "a1", ifname: "eth0" },
  ...{ link: 4, netns: "/run/netns/x", device: 5, inode: 6, boot: "b" },
};
const LINK = {
  ...{ index: 4, mac: "02:00:00:00:00:01", mtu: 1500, promiscuous: false, allMulticast: false, transmitQueue: 1000 },
};
const sysctl = (name: string, value: string) => ({ key: `net.core.${name}`, path: ["net", "core", name], value });
const config = (more: Partial<TuningConfig>): TuningConfig => ({
  sysctls: [],
  link: NO_SETTINGS,
  dataDir: "/run/x",
  ...more,
});
const recordIn = (plan: ReturnType<typeof planTuning>): FormerRecord | null => {
  const [first] = plan;
  return first?.kind === "former-values" ? first.record : null;
};

describe("a plan", () => {
  test("is empty if nothing is asked for", () => {
    expect(planTuning(config({}), ORIGIN, { link: LINK, values: [] }, null)).toEqual([]);
    expect(planChanges(config({}), "eth0", null)).toEqual([]);
  });

  test("keeps what was there first, then sysctls in their order, then the link", () => {
    const wanted = { ...NO_SETTINGS, mtu: 1400, transmitQueue: 0 };
    const both = config({ sysctls: [sysctl("b", "1"), sysctl("a", "2")], link: wanted });
    const plan = planTuning(both, ORIGIN, { link: LINK, values: ["10", "20"] }, null);
    const former = { ...NO_SETTINGS, mtu: 1500, transmitQueue: 1000 };
    const sysctls = [
      { path: "net/core/b", value: "10" },
      { path: "net/core/a", value: "20" },
    ];
    expect(plan).toEqual([
      {
        kind: "former-values",
        directory: "/run/x",
        attachment: ORIGIN.attachment,
        record: { link: former, sysctls, origin: ORIGIN },
        earlier: null,
      },
      { kind: "required-sysctl", where: "container", path: ["net", "core", "b"], value: "1", former: "10" },
      { kind: "required-sysctl", where: "container", path: ["net", "core", "a"], value: "2", former: "20" },
      { kind: "link-attributes", where: "container", name: "eth0", wanted, former },
    ]);
    expect(planChanges(both, "eth0", null)).toMatchObject([
      { former: null },
      { former: null },
      { former: NO_SETTINGS },
    ]);
  });

  test("does not undo a setting that could not be read", () => {
    const hidden = config({ sysctls: [sysctl("flush", "1")] });
    const plan = planTuning(hidden, ORIGIN, { link: LINK, values: [HIDDEN] }, null);
    expect(plan).toMatchObject([{ kind: "required-sysctl", former: null }]);
  });

  test("of a second ADD keeps what the first one found, and adds what is new", () => {
    const first = planTuning(
      config({ sysctls: [sysctl("a", "2")], link: { ...NO_SETTINGS, mtu: 1400 } }),
      ORIGIN,
      { link: LINK, values: ["1"] },
      null,
    );
    const now = { ...LINK, mtu: 1400 };
    const more = config({
      sysctls: [sysctl("a", "3"), sysctl("b", "4")],
      link: { ...NO_SETTINGS, mtu: 1300, mac: "02:00:00:00:00:09" },
    });
    const second = planTuning(more, ORIGIN, { link: now, values: ["2", "5"] }, recordIn(first));
    expect(recordIn(second)).toMatchObject({
      link: { mtu: 1500, mac: "02:00:00:00:00:01" },
      sysctls: [
        { path: "net/core/a", value: "1" },
        { path: "net/core/b", value: "5" },
      ],
    });
    /* If it fails, the link is again as this call has found it. */
    expect(second.at(-1)).toMatchObject({ former: { mtu: 1400 } });
  });

  test.each([{ link: 9 }, { inode: 9 }, { device: 9 }, { boot: "c" }])(
    "takes no former values from a record of another link or namespace: %j",
    (other) => {
      const link = { ...NO_SETTINGS, mtu: 9000 };
      const stale = { link, sysctls: [], origin: { ...ORIGIN, ...other } };
      const wanted = config({ link: { ...NO_SETTINGS, mtu: 1400 } });
      const plan = planTuning(wanted, ORIGIN, { link: LINK, values: [] }, stale);
      expect(recordIn(plan)).toMatchObject({ link: { mtu: 1500 }, origin: ORIGIN });
    },
  );

  test("takes them from a record of the reference suite", () => {
    const reference = { link: { ...NO_SETTINGS, mtu: 1500 }, sysctls: [], origin: null };
    const wanted = config({ link: { ...NO_SETTINGS, mtu: 1300 } });
    const plan = planTuning(wanted, ORIGIN, { link: { ...LINK, mtu: 1400 }, values: [] }, reference);
    expect(recordIn(plan)).toMatchObject({ link: { mtu: 1500 }, origin: ORIGIN });
  });
});

test("a result tells the MAC and the MTU of the interface that was tuned", () => {
  const before = [
    resultInterface("veth1", "02:00:00:00:00:05", 1500, ""),
    resultInterface("eth0", "02:00:00:00:00:01", 1500, "/x"),
  ];
  const wanted = config({ link: { ...NO_SETTINGS, mac: "02:00:00:00:00:09", mtu: 1400 } });
  const isTuned = (item: { sandbox: string }): boolean => item.sandbox !== "";
  expect(tunedInterfaces(before, wanted, isTuned)).toEqual([
    before[0],
    resultInterface("eth0", "02:00:00:00:00:09", 1400, "/x"),
  ]);
  expect(tunedInterfaces(before, config({}), isTuned)).toEqual(before);
});
