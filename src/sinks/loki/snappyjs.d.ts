declare module 'snappyjs' {
  /** The input in snappy's block format. @throws TypeError for anything but bytes */
  export function compress(input: Buffer): Buffer;
  /** The reverse. @throws Error for bytes that are not snappy's */
  export function uncompress(input: Buffer): Buffer;
}
