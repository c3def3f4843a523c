/** Containers under the real podman, in networks that podman writes itself: bridge, portmap, firewall, tuning. */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { program } from "../programs.ts";
import { ran, suites } from "../suites.ts";
import { Podman, SERVER_PORT, whatIsMissing } from "./podman.ts";

/** An address alone: what a server that was reached has said. */
const ADDRESS = /^[0-9a-f.:]+$/;

describe.each(await suites())("$name under podman", (suite) => {
  let podman: Podman;
  let missing = "";
  let client = "";

  beforeAll(async () => {
    client = `podman ${(await program("podman")).version}`;
    missing = await whatIsMissing(suite);
    if (missing === "") podman = await Podman.create(suite);
  });
  afterAll(() => podman?.node.remove());
  beforeEach((context) => {
    if (missing !== "") context.skip(missing);
  });
  afterEach(async ({ task }) => {
    if (missing !== "") return;
    if (task.result?.state === "pass") ran(client, suite.name, task.name);
    /* The next test is to have a chance. */
    if (task.result?.state === "fail") await podman.run("rm", "--all", "--force", "--time", "0");
  });

  test("run, publish, rm", async () => {
    await podman.serve("web", "--network", "one", "--publish", `18080:${SERVER_PORT}`);
    const [address = ""] = await podman.addresses("web", "one");
    expect(await podman.ask(null, address, SERVER_PORT)).toBe("10.77.0.1");
    expect(await podman.ask(null, "10.77.0.1", 18080)).toMatch(ADDRESS);
    expect(await podman.ask(null, "127.0.0.1", 18080)).toMatch(ADDRESS);
    await podman.serve("other", "--network", "one");
    const [another = ""] = await podman.addresses("other", "one");
    expect(await podman.ask("other", address, SERVER_PORT)).toBe(another);
    expect(await podman.ask("other", "10.77.0.1", 18080)).toMatch(ADDRESS);
    await podman.remove("web", "other");
    expect(await podman.left()).toEqual([]);
  });

  test("two networks, one joined and left later", async () => {
    await podman.serve("both", "--network", "one,two");
    await podman.serve("second", "--network", "two", "--publish", `18081:${SERVER_PORT}`);
    const [inOne, inTwo] = [await podman.addresses("both", "one"), await podman.addresses("both", "two")];
    expect([inOne.length, inTwo.length]).toEqual([1, 2]);
    for (const [family, address] of inTwo.entries()) {
      const own = (await podman.addresses("second", "two"))[family];
      expect(await podman.ask("second", address, SERVER_PORT)).toBe(own);
    }
    expect(await podman.ask(null, "10.78.0.1", 18081)).toMatch(ADDRESS);
    await podman.exec("network", "disconnect", "one", "both");
    expect(await podman.addresses("both", "one")).toEqual([]);
    expect(await podman.ask("second", inTwo[0] ?? "", SERVER_PORT), "the other interface stays").toMatch(ADDRESS);
    await podman.exec("network", "connect", "one", "both");
    const [joined = ""] = await podman.addresses("both", "one");
    expect(await podman.ask(null, joined, SERVER_PORT)).toBe("10.77.0.1");
    await podman.remove("both", "second");
    expect(await podman.left()).toEqual([]);
  });

  test("a port published from two networks", async () => {
    await podman.serve("both", "--network", "one,two", "--publish", `18085:${SERVER_PORT}`);
    expect(await podman.ask(null, "10.77.0.1", 18085)).toMatch(ADDRESS);
    await podman.exec("network", "disconnect", "one", "both");
    expect(await podman.ask(null, "10.78.0.1", 18085)).toMatch(ADDRESS);
    await podman.remove("both");
    expect(await podman.left()).toEqual([]);
  });

  test("a given address and MAC, stop and start", async () => {
    const given = ["--ip", "10.77.0.77", "--mac-address", "02:00:00:00:00:77"];
    await podman.serve("fixed", "--network", "one", ...given, "--publish", `18082:${SERVER_PORT}`);
    expect(await podman.addresses("fixed", "one")).toEqual(["10.77.0.77"]);
    for (const step of [
      ["restart", "--time", "0", "fixed"],
      ["stop", "--time", "0", "fixed"],
      ["start", "fixed"],
    ]) {
      await podman.exec(...step);
      if (step[0] === "stop") continue;
      expect(await podman.ask(null, "10.77.0.77", SERVER_PORT)).toBe("10.77.0.1");
      expect(await podman.ask(null, "127.0.0.1", 18082)).toMatch(ADDRESS);
    }
    const [neighbour] = await podman.node.query("neigh", "show", "to", "10.77.0.77");
    expect(neighbour?.lladdr).toBe("02:00:00:00:00:77");
    await podman.remove("fixed");
    expect(await podman.left()).toEqual([]);
  });

  test("a flushed packet filter, put back by network reload", async () => {
    await podman.serve("web", "--network", "one", "--publish", `18083:${SERVER_PORT}`);
    expect(await podman.ask(null, "10.77.0.1", 18083)).toMatch(ADDRESS);
    await podman.node.exec("nft", ["flush", "ruleset"]);
    await podman.exec("network", "reload", "web");
    expect(await podman.ask(null, "10.77.0.1", 18083)).toMatch(ADDRESS);
    await podman.remove("web");
    expect(await podman.left()).toEqual([]);
  });

  test("a reboot with containers", async () => {
    await podman.serve("old", "--network", "one", "--publish", `18084:${SERVER_PORT}`);
    await podman.serve("older", "--network", "two");
    await podman.node.powerOff();
    await podman.node.boot();
    if (suite.kind === "reference") {
      /* Its leases of before the reboot are in the way of the same containers for good. */
      expect((await podman.run("start", "old", "older")).stderr).toMatch(/duplicate allocation is not allowed/);
      return podman.remove("old", "older");
    }
    await podman.exec("start", "old", "older");
    expect(await podman.ask(null, "10.77.0.1", 18084)).toMatch(ADDRESS);
    for (const address of await podman.addresses("older", "two"))
      expect(await podman.ask(null, address, SERVER_PORT)).toMatch(ADDRESS);
    await podman.remove("old", "older");
    expect(await podman.left()).toEqual([]);
  });
});
