mod acts;
mod exchange;
mod strictness;
mod whole;
