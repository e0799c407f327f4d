declare const brand: unique symbol;

/** A value that the type system keeps apart from others of the same shape: `type VmName = Brand<string, 'VmName'>`. */
export type Brand<Value, Name extends string> = Value & { readonly [brand]: Name };
