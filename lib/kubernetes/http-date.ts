/** Dates of HTTP headers (RFC 9110 section 5.6.7), without a calendar of the runtime. Pure. */
import { isDigits } from "../text.ts";

const MONTHS = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec ";

/**
 * Seconds since 1970 of the one form that senders may write: "Sun, 29 Nov 2026 13:26:36 GMT".
 * @returns -1 for anything else
 */
export function parseHttpDate(text: string): number {
  if (text.length !== 29 || text.slice(25) !== " GMT" || text.slice(3, 5) !== ", ") return -1;
  const month = MONTHS.indexOf(text.slice(8, 11)) / 4;
  const day = digits(text, 5, 7);
  const year = digits(text, 12, 16);
  const hour = digits(text, 17, 19);
  const minute = digits(text, 20, 22);
  const second = digits(text, 23, 25);
  const marks = text.charAt(7) + text.charAt(11) + text.charAt(16) + text.charAt(19) + text.charAt(22);
  if (marks !== "   ::" || month < 0 || Math.floor(month) !== month) return -1;
  if (day < 1 || day > 31 || year < 1970 || hour < 0 || hour > 23 || minute < 0 || minute > 59) return -1;
  if (second < 0 || second > 60) return -1;
  return daysBefore(year, month + 1, day) * 86_400 + hour * 3600 + minute * 60 + second;
}

/** A number from digits; -1 for anything else. */
function digits(text: string, from: number, to: number): number {
  const part = text.slice(from, to);
  return isDigits(part) ? parseInt(part, 10) : -1;
}

/** Days from 1970-01-01 to a day of the Gregorian calendar. March is the first month of a year that is counted like this. */
function daysBefore(year: number, month: number, day: number): number {
  const from = month > 2 ? year : year - 1;
  const dayOfYear = Math.floor((153 * (month > 2 ? month - 3 : month + 9) + 2) / 5) + day - 1;
  const leapDays = Math.floor(from / 4) - Math.floor(from / 100) + Math.floor(from / 400);
  return from * 365 + leapDays + dayOfYear - 719_468;
}
