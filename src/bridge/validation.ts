/** JSON Schema validation of payloads: draft-07, or 2020-12 when `$schema` says so. Compiled once per rule. */
import { Ajv, type ErrorObject, type Options, type ValidateFunction } from 'ajv'
import { Ajv2020 } from 'ajv/dist/2020.js'
import addFormats from 'ajv-formats'
import { NOT_JSON } from './candidate.ts'

export interface Validation {
  /** Null: the payload is as it should be; else what is wrong with it, in words. */
  fault(json: unknown): string | null
}

/** A schema may not load others from anywhere: everything it refers to is in it. */
const options: Options = {
  allErrors: false,
  strict: true,
  strictTypes: false,
  strictTuples: false,
  strictRequired: false,
}

/** @throws Error in words */
export function compileValidation(schema: object): Validation {
  const dialect = (schema as { $schema?: unknown }).$schema
  const ajv = typeof dialect === 'string' && dialect.includes('2020-12') ? new Ajv2020(options) : new Ajv(options)
  addFormats.default(ajv)
  let validate: ValidateFunction
  try {
    validate = ajv.compile(schema)
  } catch (error) {
    throw new Error(`is no JSON Schema: ${(error as Error).message}`)
  }
  return {
    fault: (json) => {
      if (json === NOT_JSON) return 'the payload is not JSON'
      return validate(json) === true ? null : words(validate.errors?.[0])
    },
  }
}

function words(error: ErrorObject | undefined): string {
  if (error === undefined) return 'the payload does not fit the schema'
  const extra = (error.params as { additionalProperty?: string }).additionalProperty
  return `${error.instancePath === '' ? 'the payload' : error.instancePath} ${error.message}${extra === undefined ? '' : ` (${extra})`}`
}
