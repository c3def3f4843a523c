import { expect, it } from "vitest";
import type { Loss } from "../lib/netlink/losses.ts";
import { describeLoss } from "./losses.ts";

const loss = (kind: Loss["kind"], name: string, protocol = 0): Loss => ({ kind, name, protocol });

it.each([
  [loss("link", "overlay1"), "the device overlay1 was deleted"],
  [loss("link", "veth12345678"), ""],
  [loss("link-down", "overlay7"), "the device overlay7 was set down"],
  [loss("link-down", "eth0"), ""],
  [loss("route", "", 112), "a route to another node was deleted"],
  [loss("route", "", 2), ""],
  [loss("table", "podwire"), "something was deleted in the table podwire"],
  [loss("table", "podwire_overlay1"), "something was deleted in the table podwire_overlay1"],
  [loss("table", "filter"), ""],
])("describeLoss(%j) is %j", (one, expected) => {
  expect(describeLoss(one)).toBe(expected);
});
