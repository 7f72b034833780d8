/** Longest Content-Length read: 2^53 has 16 digits, and leading zeros are legal but not without end. */
const maxLengthDigits = 16;

/** The value of a Content-Length field (RFC 9110 §8.6): digits only. NaN for everything else, and for 2^53 and above. */
export function parseContentLength(value: string): number {
  let length = value.length === 0 || value.length > maxLengthDigits ? NaN : 0;
  for (let i = 0; i < value.length; i++) {
    const digit = value.charCodeAt(i) - 0x30;
    length = digit >= 0 && digit <= 9 ? length * 10 + digit : NaN;
  }
  return length <= Number.MAX_SAFE_INTEGER ? length : NaN;
}
